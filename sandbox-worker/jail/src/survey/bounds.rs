//! Limits of the daemon's process and user that decide how many sandboxes and connections fit.

use super::{Finding, Read, State, number};
use crate::limits::OPEN_FILES_NET;

const CHECK: &str = "limits";
/// Sandboxes that should fit.
const SANDBOXES: u64 = 100;

/// One bound.
struct Bound {
    what: &'static str,
    most: Option<u64>,
    wanted: u64,
    cost: &'static str,
    mend: &'static str,
}

pub(super) fn look(process: &str, uid: u32, read: Read<'_>) -> Finding {
    let limits = read(&format!("/proc/{process}/limits")).unwrap_or_default();
    let namespaces = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"]
        .iter()
        .filter_map(|kind| number(read, &format!("/proc/sys/user/max_{kind}_namespaces")))
        .min();
    let keys = if uid == 0 { "root_maxkeys" } else { "maxkeys" };
    judge(&[
        Bound {
            what: "descriptors",
            most: hard(&limits, "Max open files"),
            wanted: OPEN_FILES_NET,
            cost: "fewer connections and applications at once",
            mend: "raise the hard limit: ulimit -Hn 65536, LimitNOFILE= in a unit",
        },
        Bound {
            what: "processes",
            most: hard(&limits, "Max processes"),
            wanted: SANDBOXES,
            cost: "further sandboxes cannot be made",
            mend: "raise the hard limit: ulimit -Hu, TasksMax= or LimitNPROC= in a unit",
        },
        Bound {
            what: "namespaces of a kind",
            most: namespaces,
            wanted: SANDBOXES,
            cost: "further sandboxes cannot be made",
            mend: "raise the smallest of sysctl user.max_*_namespaces",
        },
        Bound {
            what: "keyrings",
            most: number(read, &format!("/proc/sys/kernel/keys/{keys}")),
            wanted: SANDBOXES,
            cost: "further sandboxes have no keyring of their own",
            mend: "raise sysctl kernel.keys.maxkeys",
        },
    ])
}

fn judge(bounds: &[Bound]) -> Finding {
    let said = |bound: &Bound| match bound.most {
        Some(u64::MAX) => format!("any number of {}", bound.what),
        Some(most) => format!("{most} {}", bound.what),
        None => format!("unknown number of {}", bound.what),
    };
    let found = bounds.iter().map(said).collect::<Vec<_>>().join(", ");
    match bounds.iter().find(|bound| bound.most.is_some_and(|most| most < bound.wanted)) {
        None => Finding::ok(CHECK, found),
        Some(Bound { what, wanted, cost, mend, .. }) => {
            let found = format!("{found}; {wanted} {what} should fit");
            Finding::lack(CHECK, State::Warn, found, *cost, *mend)
        }
    }
}

/// The hard limit with this name.
fn hard(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_ascii_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::look;
    use crate::survey::State;

    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units\n\
                          Max processes             unlimited            unlimited            processes\n\
                          Max open files            1024                 FILES                files\n";

    fn found(files: &str, keys: &str) -> (State, String) {
        let read = |path: &str| match path {
            "/proc/7/limits" => Some(LIMITS.replace("FILES", files)),
            "/proc/sys/kernel/keys/maxkeys" => Some(keys.to_owned()),
            _ if path.contains("max_pid_") => Some("900".to_owned()),
            _ if path.contains("/sys/user/") => Some("1000".to_owned()),
            _ => None,
        };
        let finding = look("7", 1000, &read);
        (finding.state, finding.found)
    }

    #[test]
    fn all_bounds_are_said_and_the_hard_ones_count() {
        let all =
            "4096 descriptors, any number of processes, 900 namespaces of a kind, 200 keyrings";
        assert_eq!(found("4096", "200"), (State::Ok, all.to_owned()));
    }

    #[test]
    fn the_first_that_is_too_small_is_said_with_what_should_fit() {
        let (state, said) = found("4095", "9");
        assert_eq!((state, said.ends_with("; 4096 descriptors should fit")), (State::Warn, true));
        assert!(found("4096", "99").1.ends_with("; 100 keyrings should fit"));
    }
}
