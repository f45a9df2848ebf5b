//! Whose the connections between two runtimes are.

use bincode::{Decode, Encode};

/// With what the connections of a P2P stub prove whose they are; it precedes the assignment.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct PeerIdentity {
    /// The runtime's certificate and what leads to its root, in PEM.
    pub certificate_pem: String,
    /// Its private key, in PEM.
    pub key_pem: String,
    /// Whether connections that come in are given to the component: it has the `listen` grant.
    pub listens: bool,
    /// Domains whose runtimes may come, each with its trust roots in PEM besides the bundled ones.
    pub peers: Vec<(String, String)>,
}

impl std::fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is nobody's to read in a log.
        let peers: Vec<_> = self.peers.iter().map(|peer| &peer.0).collect();
        f.debug_struct("PeerIdentity")
            .field("listens", &self.listens)
            .field("peers", &peers)
            .finish_non_exhaustive()
    }
}
