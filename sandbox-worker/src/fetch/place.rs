//! Where a descriptor or its code may lie, and where from there it may lead.
//!
//! Trust belongs to the origin of the last hop, so every hop is held to the catalogue's own origin
//! or one the operator listed, never to a plainer scheme than before, never out of the folder.

use super::{Failure, failure};
use protocol::ctl::{FetchError, Shelf};
use url::Url;

/// A thing that can be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// An `http` or `https` address.
    Web(Url),
    /// A file below the catalogue's folder.
    File(String),
}

/// One catalogue, and the origins that it may lead to.
#[derive(Debug, Clone)]
pub(crate) struct Catalogue {
    base: Url,
    shelf: Shelf,
    origins: Vec<String>,
}

fn redirect(text: String) -> Failure {
    failure(FetchError::Redirect, text)
}

fn parse(text: &str) -> Option<Url> {
    let https = text.strip_prefix("hyperty-catalogue://").map(|rest| format!("https://{rest}"));
    let url = Url::parse(https.as_deref().unwrap_or(text)).ok()?;
    let plain = url.username().is_empty() && url.password().is_none();
    let known = match url.scheme() {
        "http" | "https" => url.has_host(),
        "file" => url.host_str().is_none_or(str::is_empty),
        _ => false,
    };
    (plain && known).then_some(url)
}

impl Catalogue {
    /// The catalogue at `base`.
    ///
    /// # Errors
    /// The address is of no kind that is fetched.
    pub(crate) fn new(base: &str, shelf: Shelf, sources: &[String]) -> Result<Self, Failure> {
        let base = parse(base.trim_end_matches('/'))
            .ok_or_else(|| failure(FetchError::Down, format!("{base} is no catalogue address")))?;
        let mut origins: Vec<String> =
            sources.iter().filter_map(|source| parse(source)).map(|url| origin_of(&url)).collect();
        origins.push(origin_of(&base));
        Ok(Self { base, shelf, origins })
    }

    /// Where the entry `name` lies, with this ending.
    ///
    /// # Errors
    /// The name could mean another folder.
    pub(crate) fn entry(&self, name: &str, ending: &str) -> Result<Place, Failure> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.@~+".contains(&b);
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
            return Err(failure(FetchError::Absent, format!("{name:?} is no name of an entry")));
        }
        let path = format!("{}/{name}{ending}", self.shelf.folder());
        if self.base.scheme() == "file" {
            return Ok(Place::File(path));
        }
        let mut url = self.base.clone();
        let above = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{above}/{path}"));
        Ok(Place::Web(url))
    }

    /// Where `target` leads that was found at `from`: a redirect, or the address of code.
    ///
    /// # Errors
    /// It leads to where it may not.
    pub(crate) fn follow(&self, from: &Place, target: &str) -> Result<Place, Failure> {
        let refused = |why: &str| redirect(format!("{from} leads to {target:?}: {why}"));
        match from {
            Place::File(path) if !target.contains("://") => {
                beside(path, target).map(Place::File).ok_or_else(|| refused("outside its folder"))
            }
            Place::File(_) => {
                let url = parse(target).ok_or_else(|| refused("no address that is fetched"))?;
                if url.scheme() != "file" {
                    return self.allowed(url).ok_or_else(|| refused("another origin"));
                }
                let folder = format!("{}/", self.base.path().trim_end_matches('/'));
                url.path()
                    .strip_prefix(&folder)
                    .and_then(|path| beside("", path))
                    .map(Place::File)
                    .ok_or_else(|| refused("outside its folder"))
            }
            Place::Web(url) => {
                let joined = match parse(target) {
                    Some(absolute) => absolute,
                    None if target.contains("://") => {
                        return Err(refused("no address that is fetched"));
                    }
                    None => url
                        .join(target)
                        .ok()
                        .and_then(|url| parse(url.as_str()))
                        .ok_or_else(|| refused("no address that is fetched"))?,
                };
                if joined.scheme() == "file" {
                    return Err(refused("a file of this machine"));
                }
                if url.scheme() == "https" && joined.scheme() != "https" {
                    return Err(refused("a plainer scheme"));
                }
                self.allowed(joined).ok_or_else(|| refused("another origin"))
            }
        }
    }

    fn allowed(&self, url: Url) -> Option<Place> {
        self.origins.contains(&origin_of(&url)).then_some(Place::Web(url))
    }
}

fn origin_of(url: &Url) -> String {
    if url.scheme() == "file" { "file://".into() } else { url.origin().ascii_serialization() }
}

/// The relative path `target`, seen from the file `path`; `None` if it leads out of the folder or
/// could be read in more than one way.
fn beside(path: &str, target: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_graphic() && !b"%?#\\:".contains(&b);
    if !target.bytes().all(plain) {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    if !target.starts_with('/') {
        parts.extend(path.split('/').filter(|part| !part.is_empty()));
        parts.pop();
    }
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    let folder = matches!(target.rsplit('/').next(), Some("" | "." | ".."));
    (!folder && !parts.is_empty()).then(|| parts.join("/"))
}

impl Place {
    /// The origin that what lies here is trusted as.
    pub(crate) fn origin(&self) -> String {
        match self {
            Self::Web(url) => origin_of(url),
            Self::File(_) => "file://".into(),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Web(url) => f.write_str(url.as_str()),
            Self::File(path) => f.write_str(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Catalogue, Place};
    use proptest::prelude::*;
    use protocol::ctl::{FetchError, Shelf};

    fn catalogue(base: &str, sources: &[&str]) -> Catalogue {
        let sources: Vec<_> = sources.iter().map(|s| (*s).to_owned()).collect();
        Catalogue::new(base, Shelf::Protostub, &sources).unwrap()
    }

    fn lead(base: &str, sources: &[&str], target: &str) -> Result<String, FetchError> {
        let catalogue = catalogue(base, sources);
        let from = catalogue.entry("default", "").unwrap();
        catalogue.follow(&from, target).map(|p| p.to_string()).map_err(|f| f.error)
    }

    #[test]
    fn entries_lie_below_the_catalogue() {
        let at = |base: &str| catalogue(base, &[]).entry("slack.slack.com", ".ps.json").unwrap();
        let web = at("https://example.com/.well-known/");
        assert_eq!(
            web.to_string(),
            "https://example.com/.well-known/protocolstub/slack.slack.com.ps.json"
        );
        assert_eq!(web.origin(), "https://example.com");
        let file = at("file:///srv/catalogue");
        assert_eq!(file, Place::File("protocolstub/slack.slack.com.ps.json".into()));
        assert_eq!(file.origin(), "file://");
    }

    #[test]
    fn a_name_is_one_plain_segment() {
        let catalogue = catalogue("file:///srv", &[]);
        for name in ["", ".", "..", "../x", "a/b", "a%2fb", "a\0", ".hidden", "a b"] {
            assert!(catalogue.entry(name, "").is_err(), "{name:?}");
        }
    }

    #[test]
    fn only_catalogues_that_can_be_fetched_are_accepted() {
        for base in
            ["", "ftp://x", "example.com", "https://user:pw@example.com", "file://host/x", "data:x"]
        {
            assert!(Catalogue::new(base, Shelf::Protostub, &[]).is_err(), "{base}");
        }
        let old = catalogue("hyperty-catalogue://example.com/.well-known", &[]);
        assert!(old.entry("x", "").unwrap().to_string().starts_with("https://example.com/"));
    }

    #[test]
    fn the_same_origin_and_listed_ones_may_be_followed() {
        let base = "https://example.com/.well-known";
        let own = "https://example.com/.well-known/protocolstub/code.js";
        for target in [
            "code.js",
            "./code.js",
            own,
            "https://EXAMPLE.com:443/.well-known/protocolstub/code.js",
        ] {
            assert_eq!(lead(base, &[], target), Ok(own.into()), "{target}");
        }
        let listed = ["https://cdn.example"];
        assert_eq!(lead(base, &listed, "//cdn.example/x"), Ok("https://cdn.example/x".into()));
        assert_eq!(
            lead(base, &listed, "hyperty-catalogue://cdn.example/x"),
            Ok("https://cdn.example/x".into())
        );
    }

    #[test]
    fn everything_else_is_refused() {
        let listed = ["http://example.com", "https://cdn.example", "file:///"];
        for target in [
            "http://example.com/x",
            "https://other.example/x",
            "//other.example/x",
            "https://example.com:8443/x",
            "https://sub.example.com/x",
            "file:///etc/shadow",
            "file:etc/shadow",
            "ftp://example.com/x",
            "javascript:1",
            "data:text/plain,x",
            "https://u@example.com/x",
            "gopher://",
            "https://",
        ] {
            let got = lead("https://example.com/w", &listed, target);
            assert_eq!(got, Err(FetchError::Redirect), "{target}");
        }
    }

    #[test]
    fn a_folder_is_not_left() {
        let base = "file:///srv/catalogue";
        let ok = |target: &str| lead(base, &["https://cdn.example"], target);
        assert_eq!(ok("default.ps.js"), Ok("protocolstub/default.ps.js".into()));
        assert_eq!(ok("../code/x.js"), Ok("code/x.js".into()));
        assert_eq!(ok("/code/x.js"), Ok("code/x.js".into()));
        assert_eq!(ok("file:///srv/catalogue/x.js"), Ok("x.js".into()));
        assert_eq!(ok("https://cdn.example/x"), Ok("https://cdn.example/x".into()));
        for target in [
            "../../etc/shadow",
            "file:///etc/shadow",
            "..%2fx",
            "a\\b",
            "file:///srv/catalogue2/x",
            "https://other.example/x",
            "file:///srv/catalogue/../x",
            "",
            "..",
            "a\0b",
            "x:y",
        ] {
            assert_eq!(ok(target), Err(FetchError::Redirect), "{target:?}");
        }
    }

    proptest! {
        #[test]
        fn no_target_leaves_the_folder_or_the_origins(target in "[a-z./:%@\\\\#? ]{0,40}") {
            let file = catalogue("file:///srv", &[]);
            if let Ok(Place::File(path)) = file.follow(&Place::File("protocolstub/x".into()), &target) {
                prop_assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."));
            }
            let web = catalogue("https://example.com", &[]);
            let from = web.entry("x", "").unwrap();
            if let Ok(place) = web.follow(&from, &target) {
                prop_assert_eq!(place.origin(), "https://example.com");
            }
        }
    }
}
