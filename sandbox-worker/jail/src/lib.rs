//! How a process locks itself in: [`spawn`] makes it, in namespaces of its own; [`mod@confine`] closes
//! the jail from inside and attacks it ([`Proof`]), before the first foreign byte. The check from
//! outside is the daemon's.
//!
//! The place where `unsafe` may live: what nix lacks is called here, in `raw` and `spawn`.

pub mod breach;
pub mod confine;
pub mod limits;
mod prove;
mod raw;
pub mod spawn;
pub mod survey;

pub use confine::{ConfineError, Confinement, confine, confine_listening};
pub use prove::{Failure, Proof};

/// What a process in a jail is for; each has its own filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Runs foreign code: its link, memory and time, and nothing else.
    Stub,
    /// Reads what catalogues serve; as a stub, and it may make a sealed memfd.
    Fetch,
    /// Connects to the network for the others: in the host's network, without files.
    Net,
}

impl Profile {
    /// The word of the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stub => "stub",
            Self::Fetch => "fetch",
            Self::Net => "net",
        }
    }
}

/// How far a process is closed; ordered. The words are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing is in force.
    None,
    /// No capabilities, `no_new_privs`, rlimits, seccomp.
    Filtered,
    /// And namespaces and a private root.
    Namespaces,
    /// And a host uid of its own, cgroup limits, Landlock.
    Full,
}
