//! Names that another program on this machine cannot guess: loopback is shared by all its users.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};

/// 128 random bits as 32 hexadecimal digits.
pub(crate) fn random() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut text = String::with_capacity(32);
    for byte in bytes {
        // Writing to a String does not fail.
        write!(text, "{byte:02x}").ok();
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_tokens_differ_and_are_fit_for_a_path() {
        let (one, two) = (super::random().unwrap(), super::random().unwrap());
        assert_ne!(one, two);
        assert!(one.len() == 32 && one.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
