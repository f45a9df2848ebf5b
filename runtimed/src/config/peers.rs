//! `[p2p]`: where this runtime listens for others, and with what it shows who it is.
//!
//! There is no listener without a certificate and a key. Both are looked at here, so that a mistake
//! is found by whoever makes it; whether they belong together is for who speaks TLS with them, in
//! its sandbox.

use super::value::{Catalogue, ListenAt};
use super::{ConfigError, Place, read_bounded};
use crate::limits::{PEER_KEY_BYTES_MAX, PEER_ROOTS_BYTES_MAX};
use runtime_core::{DomainSettings, P2pSettings};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use toml::Spanned;

/// Permissions that the file of a key must not have: those of everybody.
const OTHERS: u32 = 0o007;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct P2pTable {
    listen: Option<Spanned<ListenAt>>,
    certificate: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
    catalogue: Option<Spanned<Catalogue>>,
}

impl P2pTable {
    /// What it says, if it says anything.
    pub(super) fn check(self, place: &Place<'_>) -> Result<Option<P2pSettings>, ConfigError> {
        let starts = [
            self.listen.as_ref().map(|at| at.span().start),
            self.certificate.as_ref().map(|at| at.span().start),
            self.key.as_ref().map(|at| at.span().start),
            self.catalogue.as_ref().map(|at| at.span().start),
        ];
        let Some(first) = starts.into_iter().flatten().min() else { return Ok(None) };
        let (Some(listen), Some(certificate), Some(key)) =
            (self.listen, self.certificate, self.key)
        else {
            let text = "[p2p] needs listen, certificate and key, or none of them";
            return Err(place.wrong(first, text));
        };
        let certificate_pem = pem(place, &certificate, "certificate", &["CERTIFICATE"])?;
        let words = ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"];
        let key_pem = pem(place, &key, "key", &words)?;
        let open = std::fs::metadata(key.get_ref()).is_ok_and(|file| file.mode() & OTHERS != 0);
        if open {
            let text = format!("everybody may use the key {}", key.get_ref().display());
            return Err(place.wrong(key.span().start, &text));
        }
        Ok(Some(P2pSettings {
            listen: listen.into_inner().0,
            certificate_pem,
            key_pem,
            catalogue: self.catalogue.map(|catalogue| catalogue.into_inner().0),
        }))
    }
}

/// The roots of all peers cross to the sandbox in one message.
pub(super) fn check_roots(
    place: &Place<'_>,
    domains: &BTreeMap<String, DomainSettings>,
) -> Result<(), ConfigError> {
    let of_peers = domains.values().filter(|domain| domain.p2p.is_some());
    let bytes: usize = of_peers.map(|domain| domain.ca_pem.len()).sum();
    if u64::try_from(bytes).unwrap_or(u64::MAX) > PEER_ROOTS_BYTES_MAX {
        let text = format!("the trust roots of all peers are over {PEER_ROOTS_BYTES_MAX} bytes");
        return Err(place.wrong(0, &text));
    }
    Ok(())
}

/// The text of a file that holds such a block, whole.
fn pem(
    place: &Place<'_>,
    path: &Spanned<PathBuf>,
    what: &str,
    words: &[&str],
) -> Result<String, ConfigError> {
    let name = path.get_ref().display();
    let text = read_bounded(path.get_ref(), PEER_KEY_BYTES_MAX).map_err(|error| {
        place.wrong(path.span().start, &format!("cannot read the {what} {name}: {error}"))
    })?;
    let whole = |word: &&str| {
        let begin = text.find(&format!("-----BEGIN {word}-----"));
        let end = text.find(&format!("-----END {word}-----"));
        begin.zip(end).is_some_and(|(begin, end)| begin < end)
    };
    if words.iter().any(whole) {
        Ok(text)
    } else {
        let text = format!("there is no {what} in {name}; it must be PEM, and not encrypted");
        Err(place.wrong(path.span().start, &text))
    }
}
