//! Trust roots: the bundled ones, and what the operator configured for a domain.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// Why no TLS can be spoken.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum TlsError {
    /// The configured roots are no certificates.
    #[error("the configured trust root is no certificate: {0}")]
    Roots(String),
    /// The library refuses its own configuration.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// What a client shows of itself: its certificate with what leads to the root, and its key.
pub(crate) type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A client that trusts the bundled roots and those in `ca_pem` (PEM, empty for none), and says who
/// it is if it has something to show.
///
/// # Errors
/// `ca_pem` holds something else, or the key is not that of the certificate.
pub(crate) fn client(ca_pem: &str, shown: Option<Shown>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let certificate = certificate.map_err(|error| TlsError::Roots(error.to_string()))?;
        roots.add(certificate).map_err(|error| TlsError::Roots(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match shown {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::{TlsError, client};

    #[test]
    fn the_bundled_roots_are_enough_and_rubbish_is_refused() {
        assert!(client("", None).is_ok());
        let rubbish = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(client(rubbish, None), Err(TlsError::Roots(_))));
    }
}
