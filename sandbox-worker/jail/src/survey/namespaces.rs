//! Namespaces: whether a sandbox got its own, and if not, what stands in the way.

use super::{Finding, Read, State, Whom, number};
use std::path::Path;

const CHECK: &str = "namespaces";
/// The kinds, as the kernel's files and settings call them.
const KINDS: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

pub(super) fn look(whom: &Whom, read: Read<'_>) -> Finding {
    if whom.namespaces {
        return Finding::ok(CHECK, "user, mount, pid, net, ipc, uts and cgroup");
    }
    let exists = |kind: &str| Path::new(&format!("/proc/self/ns/{kind}")).exists();
    let (found, mend) = cause(whom.uid, read, &exists);
    let cost = "stubs are only filtered: they see the host's processes, files by their rights, \
                and network";
    Finding::lack(CHECK, State::Fail, found, cost, mend)
}

/// Why they could not be made, and what to do.
fn cause(uid: u32, read: Read<'_>, exists: &dyn Fn(&str) -> bool) -> (String, String) {
    for kind in KINDS {
        if !exists(kind) {
            return (
                format!("this kernel has no {kind} namespaces"),
                "use a kernel that is built with all namespaces".to_owned(),
            );
        }
        let setting = format!("user.max_{kind}_namespaces");
        if number(read, &format!("/proc/sys/user/max_{kind}_namespaces")) == Some(0) {
            return (format!("{setting} is 0"), format!("sysctl {setting}=15000"));
        }
    }
    if uid != 0 {
        if number(read, "/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
            let setting = "kernel.unprivileged_userns_clone";
            return (format!("{setting} is 0"), format!("sysctl {setting}=1"));
        }
        let setting = "kernel.apparmor_restrict_unprivileged_userns";
        if number(read, "/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
            return (
                format!("AppArmor forbids them ({setting} is 1)"),
                format!(
                    "load an AppArmor profile that allows userns to sandbox-worker, \
                         or sysctl {setting}=0"
                ),
            );
        }
    }
    (
        "refused to this process".to_owned(),
        "allow user namespaces in what it runs in: a container's filter, a chroot, \
         RestrictNamespaces= of a unit, a security module"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::cause;

    fn found(uid: u32, file: &str, text: &str) -> (String, String) {
        let read = |path: &str| (path == file).then(|| text.to_owned());
        cause(uid, &read, &|_| true)
    }

    #[test]
    fn the_setting_that_forbids_them_is_named_with_its_mend() {
        let userns = "/proc/sys/user/max_user_namespaces";
        assert_eq!(found(0, userns, "0").1, "sysctl user.max_user_namespaces=15000");
        let debian = "/proc/sys/kernel/unprivileged_userns_clone";
        assert_eq!(found(1000, debian, "0").1, "sysctl kernel.unprivileged_userns_clone=1");
        assert_eq!(found(0, debian, "0").0, "refused to this process", "it binds others only");
        let apparmor = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
        assert!(found(1000, apparmor, "1").0.starts_with("AppArmor"));
        let none = cause(0, &|_| None, &|kind| kind != "cgroup");
        assert_eq!(none.0, "this kernel has no cgroup namespaces");
    }
}
