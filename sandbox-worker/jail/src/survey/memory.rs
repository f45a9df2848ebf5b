//! Memory: whether it is short now, as the daemon would see it.

use super::{Finding, Read, State};

const CHECK: &str = "memory";
/// Hundredths of a percent of the time with somebody waiting for memory, above which the daemon
/// starts nothing new (`PRESSURE_BEGINS_PERCENT` of the core).
const SHORT: u64 = 1_500;

pub(super) fn look(read: Read<'_>) -> Finding {
    match read("/proc/pressure/memory").as_deref().map(waiting) {
        Some(Some(share)) => {
            let percent = format!("{}.{:02} %", share / 100, share % 100);
            let found = format!("{percent} of the last 10 s somebody waited for memory");
            if share <= SHORT {
                return Finding::ok(CHECK, found);
            }
            let cost = "while it is more than 15 %, no stub is started";
            let mend = "runtimectl ps says what stubs take; stop what takes most, or add memory";
            Finding::lack(CHECK, State::Warn, found, cost, mend)
        }
        Some(None) | None => {
            let found = "the kernel does not say when it is short";
            let cost = "stubs are started all the same, and the kernel kills something";
            let mend = "boot with psi=1, a kernel with CONFIG_PSI";
            Finding::lack(CHECK, State::Warn, found, cost, mend)
        }
    }
}

/// Hundredths of a percent in which at least one waited, over ten seconds.
fn waiting(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some avg10="))?;
    let (whole, hundredths) = line.split(' ').next()?.split_once('.')?;
    let whole: u64 = whole.parse().ok()?;
    whole.checked_mul(100)?.checked_add(hundredths.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::look;
    use crate::survey::State;

    #[test]
    fn memory_is_enough_short_or_unknown() {
        let of = |text: Option<&str>| look(&|_| text.map(str::to_owned));
        let said = |avg: &str| format!("some avg10={avg} avg60=0.07 total=9\nfull avg10=99.00\n");
        assert_eq!(of(Some(&said("15.00"))).state, State::Ok);
        let short = of(Some(&said("15.01")));
        assert_eq!(short.state, State::Warn);
        assert!(short.found.starts_with("15.01 % of the last 10 s"), "{short:?}");
        for unknown in [None, Some(""), Some("some avg10=x"), Some("full avg10=1.00 total=1")] {
            let finding = of(unknown);
            assert_eq!(finding.state, State::Warn);
            assert!(finding.found.contains("does not say"), "{finding:?}");
        }
    }
}
