//! Memory: whether it is short now, as the daemon would see it.

use super::{Finding, Read, State};

const CHECK: &str = "memory";
/// Hundredths of a percent of the time with somebody waiting for memory, above which the daemon
/// starts nothing new (`PRESSURE_BEGINS_PERCENT` of the core).
const SHORT: u64 = 1_500;
/// Percent of it below which it is really short (`PRESSURE_FREE_PERCENT`).
const LEFT: u64 = 10;

pub(super) fn look(read: Read<'_>) -> Finding {
    let free = read("/proc/meminfo").as_deref().and_then(available);
    match read("/proc/pressure/memory").as_deref().map(waiting) {
        Some(Some(share)) => {
            let percent = format!("{}.{:02} %", share / 100, share % 100);
            let left = free.map_or_else(|| "?".to_owned(), |free| free.to_string());
            let found =
                format!("{left} % is left; {percent} of the last 10 s somebody waited for it");
            if share <= SHORT || free.is_some_and(|free| free >= LEFT) {
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

/// Percent of the memory that could be had.
fn available(text: &str) -> Option<u64> {
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    of("MemAvailable:")?.saturating_mul(100).checked_div(of("MemTotal:")?)
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
        let with = |text: Option<&str>, free: u64| {
            look(&|path: &str| match path {
                "/proc/meminfo" => Some(format!("MemTotal: 200 kB\nMemAvailable: {free} kB\n")),
                _ => text.map(str::to_owned),
            })
        };
        let of = |text: Option<&str>| with(text, 19);
        let said = |avg: &str| format!("some avg10={avg} avg60=0.07 total=9\nfull avg10=99.00\n");
        assert_eq!(of(Some(&said("15.00"))).state, State::Ok);
        let short = of(Some(&said("15.01")));
        assert_eq!(short.state, State::Warn);
        let found = "9 % is left; 15.01 % of the last 10 s somebody waited for it";
        assert_eq!(short.found, found);
        assert_eq!(with(Some(&said("99.00")), 20).state, State::Ok, "a stub at its own bound");
        for unknown in [None, Some(""), Some("some avg10=x"), Some("full avg10=1.00 total=1")] {
            let finding = of(unknown);
            assert_eq!(finding.state, State::Warn);
            assert!(finding.found.contains("does not say"), "{finding:?}");
        }
    }
}
