//! Leaving one wall out, so that a test sees the proof notice it: only in builds with the feature
//! `breach`, and there only inside throw-away user, mount and pid namespaces. In every other build
//! this is nothing but constants.

#[cfg(feature = "breach")]
pub use open::{LAYERS, NotThrowAway, open};

use nix::errno::Errno;

/// Whether `layer` is left out.
#[cfg(not(feature = "breach"))]
pub(crate) const fn lacks(_layer: &str) -> bool {
    false
}

/// What the filter answers to what it refuses.
#[cfg(not(feature = "breach"))]
pub(crate) const fn refusal() -> Errno {
    Errno::EPERM
}

#[cfg(feature = "breach")]
pub(crate) fn lacks(layer: &str) -> bool {
    open::OPENED.get().is_some_and(|opened| opened.without.contains(&layer))
}

#[cfg(feature = "breach")]
pub(crate) fn refusal() -> Errno {
    open::OPENED.get().map_or(Errno::EPERM, |opened| opened.refusal)
}

#[cfg(feature = "breach")]
mod open {
    use nix::errno::Errno;
    use std::fs;
    use std::sync::OnceLock;

    /// Second argument of the first process of a throw-away pid namespace.
    const MARK: &[u8] = b"throw-away";
    /// The ids of a user namespace that is nobody's own.
    const ALL_IDS: &str = "4294967295";

    /// The layers that can be left out, each with those that cannot stand without it.
    pub const LAYERS: &[&[&str]] = &[
        &["descriptors"],
        &["rlimits"],
        &["session"],
        &["keyring"],
        // The rights to name the machine and to mount came with it.
        &["user-ns", "uts-ns-name", "root"],
        &["mount-ns", "root"],
        &["pid-ns"],
        &["net-ns"],
        &["ipc-ns"],
        &["uts-ns", "uts-ns-name"],
        &["cgroup-ns"],
        &["root"],
        &["caps"],
        &["no-new-privs"],
        &["non-dumpable"],
        &["parent-death"],
        &["landlock"],
        &["seccomp"],
        // What is left where neither may hide another wall.
        &["seccomp-and-landlock", "seccomp", "landlock"],
        // What the battery itself does is seen where nothing holds it.
        &[
            "everything",
            "descriptors",
            "rlimits",
            "session",
            "keyring",
            "user-ns",
            "uts-ns-name",
            "mount-ns",
            "pid-ns",
            "net-ns",
            "ipc-ns",
            "uts-ns",
            "cgroup-ns",
            "root",
            "caps",
            "no-new-privs",
            "non-dumpable",
            "parent-death",
            "landlock",
            "seccomp",
        ],
    ];

    pub(super) struct Opened {
        pub(super) without: &'static [&'static str],
        pub(super) refusal: Errno,
    }

    pub(super) static OPENED: OnceLock<Opened> = OnceLock::new();

    /// The process is not where walls may be left out, or has left one out already.
    #[derive(Debug, thiserror::Error)]
    #[error("no wall is left out here: {0}")]
    pub struct NotThrowAway(&'static str);

    /// From now on this process leaves `layer` out, where it makes or closes jails, and its filter
    /// answers with `refusal`. A name that is no layer leaves nothing out.
    ///
    /// # Errors
    /// The process is not inside throw-away namespaces, and nothing is left out.
    pub fn open(layer: &str, refusal: Errno) -> Result<(), NotThrowAway> {
        throw_away()?;
        let all = LAYERS.iter().find(|all| all.first() == Some(&layer));
        let without = all.copied().unwrap_or_default();
        OPENED
            .set(Opened { without, refusal })
            .map_err(|_again| NotThrowAway("something was left out already"))
    }

    /// The first process of the pid namespace whose `/proc` is mounted here is one that was made to
    /// be thrown away: so it is neither the host's nor a container's pid and mount namespace.
    fn throw_away() -> Result<(), NotThrowAway> {
        let unseen = |_error| NotThrowAway("/proc cannot be read");
        let ids = fs::read_to_string("/proc/self/uid_map").map_err(unseen)?;
        if ids.split_whitespace().any(|word| word == ALL_IDS) {
            return Err(NotThrowAway("the user namespace is the first"));
        }
        let first = fs::read("/proc/1/cmdline").map_err(unseen)?;
        if first.split(|byte| *byte == 0).nth(1) != Some(MARK) {
            return Err(NotThrowAway("the first process is not one that is thrown away"));
        }
        Ok(())
    }
}
