//! Who is at the other end of a named socket, and what that one may do (CONTRACT §1).

use crate::limits::SANDBOX_UIDS;
use std::os::unix::fs::MetadataExt as _;

/// What a peer may do on the control socket. On the bus both are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    /// Everything.
    Operate,
    /// Look only.
    Read,
}

/// Peer credentials as the kernel took them when the peer connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    /// Effective uid.
    pub(super) uid: u32,
    /// Pid in our pid namespace, 0 if it is not in it.
    pub(super) pid: i32,
}

/// Decides who may come in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gate {
    own: u32,
    sandbox_uids: Option<u32>,
}

impl Gate {
    /// `uid_base` is where the uids of sandboxes begin, if they have their own.
    pub(super) const fn new(own: u32, uid_base: Option<u32>) -> Self {
        Self { own, sandbox_uids: uid_base }
    }

    /// What this peer may do; `None` for one that lives in a sandbox or outside our pid namespace.
    /// That the group may come in at all is the mode of the socket: the kernel looked at it.
    pub(super) fn admit(&self, peer: Peer) -> Option<Right> {
        self.judge(peer, in_our_user_namespace)
    }

    fn judge(&self, peer: Peer, same_namespace: impl Fn(i32) -> bool) -> Option<Right> {
        let of_a_sandbox = self
            .sandbox_uids
            .is_some_and(|base| peer.uid >= base && peer.uid < base.saturating_add(SANDBOX_UIDS));
        if peer.pid <= 0 || of_a_sandbox {
            return None;
        }
        // Sandboxes of an ordinary daemon have its own uid: only the user namespace tells.
        if peer.uid == self.own && !same_namespace(peer.pid) {
            return None;
        }
        if peer.uid == 0 || peer.uid == self.own { Some(Right::Operate) } else { Some(Right::Read) }
    }
}

/// A namespace that cannot be looked at is not ours.
fn in_our_user_namespace(pid: i32) -> bool {
    let inode = |path: String| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    match (inode(format!("/proc/{pid}/ns/user")), inode("/proc/self/ns/user".to_owned())) {
        (Ok(theirs), Ok(ours)) => theirs == ours,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Gate, Peer, Right};

    #[test]
    fn root_and_the_own_uid_operate_and_others_look() {
        let gate = Gate::new(1000, None);
        let judge = |uid| gate.judge(Peer { uid, pid: 5 }, |_| true);
        assert_eq!(judge(0), Some(Right::Operate));
        assert_eq!(judge(1000), Some(Right::Operate));
        assert_eq!(judge(1001), Some(Right::Read));
    }

    #[test]
    fn who_lives_in_a_sandbox_is_refused() {
        let rootless = Gate::new(1000, None);
        assert_eq!(rootless.judge(Peer { uid: 1000, pid: 5 }, |_| false), None);
        assert_eq!(rootless.judge(Peer { uid: 1000, pid: 0 }, |_| true), None);
        let root = Gate::new(0, Some(524_288));
        let judge = |uid| root.judge(Peer { uid, pid: 5 }, |_| true);
        assert_eq!(judge(524_287), Some(Right::Read));
        assert_eq!(judge(524_288), None);
        assert_eq!(judge(524_288 + 65_535), None);
        assert_eq!(judge(524_288 + 65_536), Some(Right::Read));
    }

    #[test]
    fn this_process_is_in_its_own_namespace() {
        let own = nix::unistd::geteuid().as_raw();
        let pid = nix::unistd::getpid().as_raw();
        assert_eq!(Gate::new(own, None).admit(Peer { uid: own, pid }), Some(Right::Operate));
    }
}
