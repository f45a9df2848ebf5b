//! Identifiers that nobody can foresee: whoever has seen some cannot tell the next.

use sha2::{Digest as _, Sha256};

/// What nobody but the runtime knows. The core has no source of chance: the shell gives it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Bytes of the system's generator.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The identifiers of one life of a runtime.
#[derive(Debug, Clone)]
pub(crate) struct Guids {
    secret: Secret,
    made: u64,
}

impl Guids {
    pub(crate) const fn new(secret: Secret) -> Self {
        Self { secret, made: 0 }
    }

    /// The next: 128 bits in hexadecimal, of a hash over the secret and their number. What is
    /// hashed has always the same length, so that the bare hash is as good as a keyed one.
    pub(crate) fn next(&mut self) -> String {
        self.made = self.made.wrapping_add(1);
        let hash = Sha256::new().chain_update(self.secret.0).chain_update(self.made.to_le_bytes());
        let hash = hash.finalize();
        let number = hash.iter().take(16).fold(0_u128, |sum, byte| (sum << 8) | u128::from(*byte));
        format!("{number:032x}")
    }
}

#[cfg(test)]
mod tests {
    use super::{Guids, Secret};

    #[test]
    fn identifiers_differ_from_each_other_and_from_those_of_another_secret() {
        let [mut one, mut two] = [1, 2].map(|byte| Guids::new(Secret::new([byte; 32])));
        let mut all: Vec<String> = (0..100).flat_map(|_| [one.next(), two.next()]).collect();
        assert!(all.iter().all(|guid| guid.len() == 32), "{all:?}");
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 200);
    }

    #[test]
    fn a_secret_is_not_written_into_a_log() {
        assert_eq!(format!("{:?}", Secret::new([7; 32])), "Secret(..)");
    }
}
