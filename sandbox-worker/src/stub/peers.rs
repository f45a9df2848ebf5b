//! Whose the certificates of other runtimes are, and how ours is shown to them.
//!
//! A runtime shows the certificate of its domain to whom it connects and to whom connects to it,
//! so that one certificate serves both ways: as that of a server, which is what there is for
//! domains. Of a peer it is demanded that it leads to a root that is trusted for the domain, and
//! names the domain; the operator says which domains may come at all.

use crate::fetch::tls::Shown;
use protocol::ctl::PeerIdentity;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use std::sync::Arc;

/// What is shown to others.
///
/// # Errors
/// One of both is no PEM, as one sentence.
pub(super) fn shown(identity: &PeerIdentity) -> Result<Shown, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("the certificate of [p2p] is none: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())
        .map_err(|error| format!("the key of [p2p] is none: {error}"))?;
    if chain.is_empty() {
        return Err("the certificate of [p2p] is none: there is nothing in it".to_owned());
    }
    Ok((chain, key))
}

/// A domain whose runtimes may come, and the roots that are trusted for it.
#[derive(Debug)]
struct Peer {
    domain: String,
    name: ServerName<'static>,
    roots: RootCertStore,
}

/// Who may come, and how the others are shown that we are who they look for.
#[derive(Debug)]
pub(super) struct Peers {
    peers: Vec<Peer>,
    provider: Arc<CryptoProvider>,
}

impl Peers {
    fn new(identity: &PeerIdentity, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let mut peers = Vec::new();
        for (domain, ca_pem) in &identity.peers {
            let bad = |error: &dyn std::fmt::Display| format!("the peer {domain}: {error}");
            let name = ServerName::try_from(domain.clone()).map_err(|error| bad(&error))?;
            let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            for root in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
                let root = root.map_err(|error| bad(&error))?;
                roots.add(root).map_err(|error| bad(&error))?;
            }
            peers.push(Peer { domain: domain.clone(), name, roots });
        }
        Ok(Self { peers, provider })
    }

    /// The domains whose certificate this is.
    pub(super) fn domains(&self, chain: &[CertificateDer<'_>]) -> Vec<String> {
        let Some((own, rest)) = chain.split_first() else { return Vec::new() };
        let Ok(parsed) = ParsedCertificate::try_from(own) else { return Vec::new() };
        let algorithms = self.provider.signature_verification_algorithms.all;
        let now = UnixTime::now();
        let is_of = |peer: &&Peer| {
            verify_server_name(&parsed, &peer.name).is_ok()
                && verify_server_cert_signed_by_trust_anchor(
                    &parsed,
                    &peer.roots,
                    rest,
                    now,
                    algorithms,
                )
                .is_ok()
        };
        self.peers.iter().filter(is_of).map(|peer| peer.domain.clone()).collect()
    }
}

impl ClientCertVerifier for Peers {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain: Vec<_> = std::iter::once(own).chain(rest).cloned().collect();
        if self.domains(&chain).is_empty() {
            return Err(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            ));
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What answers those who come.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) config: Arc<ServerConfig>,
    pub(super) peers: Arc<Peers>,
}

impl Door {
    /// Made when the identity is there.
    ///
    /// # Errors
    /// Certificate, key or a root cannot be used, as one sentence.
    pub(super) fn new(identity: &PeerIdentity) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let peers = Arc::new(Peers::new(identity, Arc::clone(&provider))?);
        let (chain, key) = shown(identity)?;
        let verifier: Arc<dyn ClientCertVerifier> = Arc::<Peers>::clone(&peers);
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map(|builder| builder.with_client_cert_verifier(verifier))
            .and_then(|builder| builder.with_single_cert(chain, key));
        let mut config = config.map_err(|error| format!("the key of [p2p]: {error}"))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), peers })
    }
}
