//! The clock: whether it is right, which certificates need, and cheap to look at.

use super::{Finding, Read, State};
use crate::raw;
use nix::errno::Errno;
use std::time::{Duration, SystemTime};

const CHECK: &str = "clock";
/// 2026-01-01: a clock that shows less was never set.
const BUILT_AFTER: Duration = Duration::from_hours(24 * 20_454);
/// Sources for which each look is a system call that asks a slow device.
const SLOW: [&str; 4] = ["hpet", "acpi_pm", "jiffies", "pit"];

pub(super) fn look(read: Read<'_>) -> Finding {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let source = read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    judge(now, raw::clock_is_synchronised(), &source.unwrap_or_else(|| "unknown".to_owned()))
}

fn judge(now: Duration, synchronised: Result<bool, Errno>, source: &str) -> Finding {
    if now < BUILT_AFTER {
        return Finding::lack(
            CHECK,
            State::Fail,
            format!("it shows a time before this program was written; source {source}"),
            "no certificate is valid yet: nothing can be downloaded or connected to by TLS",
            "set it, and keep it right with an NTP client",
        );
    }
    let said = match synchronised {
        Ok(true) => "synchronised",
        Ok(false) => "not synchronised",
        Err(_) => "unknown whether synchronised",
    };
    let found = format!("{said}, source {source}");
    if synchronised == Ok(false) {
        let cost = "times in events may be off; if it is far off, certificates seem invalid";
        let mend = "run an NTP client (timedatectl set-ntp true)";
        return Finding::lack(CHECK, State::Warn, found, cost, mend);
    }
    if SLOW.contains(&source) {
        let cost = "each look at the clock takes about a microsecond, several for each message";
        let mend = "find out why the kernel left tsc (dmesg), or boot it with tsc=reliable";
        return Finding::lack(CHECK, State::Warn, found, cost, mend);
    }
    Finding::ok(CHECK, found)
}

#[cfg(test)]
mod tests {
    use super::{BUILT_AFTER, judge};
    use crate::survey::State;
    use nix::errno::Errno;
    use std::time::Duration;

    #[test]
    fn a_clock_is_right_unsynchronised_slow_or_unset() {
        assert_eq!(judge(BUILT_AFTER, Ok(true), "tsc").state, State::Ok);
        assert_eq!(judge(BUILT_AFTER, Err(Errno::EPERM), "tsc").state, State::Ok);
        assert_eq!(judge(BUILT_AFTER, Ok(false), "tsc").state, State::Warn);
        assert_eq!(judge(BUILT_AFTER, Ok(true), "hpet").state, State::Warn);
        assert_eq!(judge(Duration::ZERO, Ok(true), "tsc").state, State::Fail);
    }
}
