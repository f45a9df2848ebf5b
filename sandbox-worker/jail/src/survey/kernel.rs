//! The kernel: calls without which no sandbox can be born, Landlock, and what the filter needs.

use super::{Finding, State, read};
use crate::raw;
use libc::c_long;
use nix::errno::Errno;

/// Landlock's version from which on everything that a jail asks for is there.
const LANDLOCK_WHOLE: c_long = 6;
/// `LANDLOCK_CREATE_RULESET_VERSION`: asks for the version instead of making a rule set.
const ASK_VERSION: c_long = 1;
/// No descriptor, no process.
const NONE: c_long = -1;
/// What has no bits.
const ALL: c_long = 0xFFFF_FFFF;

/// A call, arguments with which it does nothing, and what it is for.
struct Needed {
    name: &'static str,
    call: c_long,
    args: [c_long; 6],
    without: &'static str,
    state: State,
}

const fn needed(name: &'static str, call: c_long, args: [c_long; 6]) -> Needed {
    Needed { name, call, args, without: "no sandbox can be made", state: State::Fail }
}

const CALLS: [Needed; 7] = [
    needed("clone3", libc::SYS_clone3, [0; 6]),
    needed("pidfd_open", libc::SYS_pidfd_open, [NONE, 0, 0, 0, 0, 0]),
    needed("pidfd_send_signal", libc::SYS_pidfd_send_signal, [NONE, 0, 0, 0, 0, 0]),
    // The empty range, whose flag an older kernel does not know.
    needed("close_range", libc::SYS_close_range, [ALL, ALL, 4, 0, 0, 0]),
    needed("execveat", libc::SYS_execveat, [NONE, 0, 0, 0, 0, 0]),
    needed("memfd_create", libc::SYS_memfd_create, [0; 6]),
    Needed {
        name: "openat2",
        call: libc::SYS_openat2,
        args: [NONE, 0, 0, 0, 0, 0],
        without: "file catalogues are opened step by step, which is slower",
        state: State::Warn,
    },
];

impl Needed {
    fn is_there(&self) -> bool {
        match raw::attempt(self.call, self.args) {
            // A filter may say that it is forbidden, or that it does not exist.
            Err(Errno::ENOSYS | Errno::EPERM) => false,
            // An older kernel does not know the flag.
            Err(Errno::EINVAL) => self.call != libc::SYS_close_range,
            _ => true,
        }
    }
}

pub(super) fn calls() -> Finding {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned());
    let kernel = format!("Linux {release}, {}", std::env::consts::ARCH);
    let missing: Vec<_> = CALLS.iter().filter(|needed| !needed.is_there()).collect();
    let Some(worst) = missing.iter().max_by_key(|needed| needed.state) else {
        return Finding::ok("kernel", kernel);
    };
    let names: Vec<_> = missing.iter().map(|needed| needed.name).collect();
    let found = format!("{kernel}, without {}", names.join(", "));
    let mend = "use Linux 5.11 or newer; in a container, let its filter pass these calls";
    Finding::lack("kernel", worst.state, found, worst.without, mend)
}

pub(super) fn landlock() -> Finding {
    let asked = raw::attempt(libc::SYS_landlock_create_ruleset, [0, 0, ASK_VERSION, 0, 0, 0]);
    landlock_is(asked, read("/sys/kernel/security/lsm").as_deref())
}

fn landlock_is(asked: Result<c_long, Errno>, modules: Option<&str>) -> Finding {
    const COST: &str = "one wall less behind the private root and the filter; \
                        level full cannot be reached";
    let lack =
        |found: String, mend: String| Finding::lack("landlock", State::Warn, found, COST, mend);
    match asked {
        Ok(version) if version >= LANDLOCK_WHOLE => {
            Finding::ok("landlock", format!("version {version}"))
        }
        Ok(version) => Finding::lack(
            "landlock",
            State::Warn,
            format!("version {version}; everything from {LANDLOCK_WHOLE} on"),
            "what it lacks (TCP below 4, signals and abstract sockets below 6) \
             is held by namespaces and the filter alone",
            "use Linux 6.12 or newer",
        ),
        Err(Errno::EOPNOTSUPP) => {
            let modules = modules.map_or_else(|| "…".to_owned(), str::to_owned);
            lack("switched off".to_owned(), format!("boot the kernel with lsm=landlock,{modules}"))
        }
        Err(Errno::ENOSYS) => lack(
            "not in this kernel".to_owned(),
            "use a kernel with CONFIG_SECURITY_LANDLOCK".to_owned(),
        ),
        Err(errno) => lack(
            format!("refused: {errno}"),
            "let the filter around this process pass the three landlock calls".to_owned(),
        ),
    }
}

pub(super) fn seccomp() -> Finding {
    let refused = [("errno", libc::SECCOMP_RET_ERRNO), ("kill", libc::SECCOMP_RET_KILL_PROCESS)]
        .into_iter()
        .find_map(|(name, action)| Some((name, raw::filter_action(action).err()?)));
    match refused {
        None => Finding::ok("seccomp", "filters that refuse and kill"),
        Some((name, errno)) => Finding::lack(
            "seccomp",
            State::Fail,
            format!("no filters with {name}: {errno}"),
            "nothing stands between a stub and the kernel; no stub is run",
            "use a kernel with CONFIG_SECCOMP_FILTER; in a container, allow seccomp",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::landlock_is;
    use crate::survey::State;
    use nix::errno::Errno;

    #[test]
    fn landlock_is_whole_partial_switched_off_or_not_there() {
        let is = |asked| landlock_is(asked, Some("capability,yama"));
        assert_eq!(is(Ok(6)).state, State::Ok);
        assert_eq!(
            (is(Ok(2)).state, is(Ok(2)).mend.unwrap().contains("6.12")),
            (State::Warn, true)
        );
        let off = is(Err(Errno::EOPNOTSUPP));
        assert_eq!(off.mend.as_deref(), Some("boot the kernel with lsm=landlock,capability,yama"));
        for errno in [Errno::EOPNOTSUPP, Errno::ENOSYS, Errno::EPERM] {
            assert_eq!(is(Err(errno)).state, State::Warn, "{errno}");
        }
    }
}
