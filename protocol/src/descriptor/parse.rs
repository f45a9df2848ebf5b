//! JSON to descriptor.

use super::check::{is_host, is_word};
use super::{Descriptor, WantedHost};
use crate::limits::{
    CONFIGURATION_BYTES_MAX, CONSTRAINTS_MAX, DESCRIPTOR_BYTES_MAX, DESCRIPTOR_WORD_BYTES_MAX,
    JSON_DEPTH_MAX, LISTED_MAX, WANTED_HOSTS_MAX,
};
use crate::text;
use serde_json::{Map, Value};

/// Why a descriptor cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// Over the bound.
    #[error("the descriptor is larger than {DESCRIPTOR_BYTES_MAX} bytes")]
    TooLarge,
    /// Not JSON.
    #[error("the descriptor is not JSON: {0}")]
    Json(String),
    /// Not an object.
    #[error("the descriptor is not an object")]
    Shape,
    /// A member that is not what it must be.
    #[error("the descriptor's {0} is unusable")]
    Member(&'static str),
    /// Neither code nor a place where it is.
    #[error("the descriptor names no code")]
    NoCode,
    /// Not JavaScript.
    #[error("the descriptor's language {0} is unknown")]
    Language(String),
}

/// How inline code is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    None,
    /// base64.
    Base64,
}

/// Where the code is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Package {
    /// In the descriptor.
    Inline {
        /// Text, still encoded.
        text: String,
        /// How.
        encoding: Encoding,
    },
    /// At this address, absolute or relative to the descriptor.
    Url(String),
    /// Nowhere: in the file beside it, if there is one.
    Beside,
}

/// Reads a descriptor and where its code is.
///
/// # Errors
/// It cannot be used.
pub fn parse(bytes: &[u8]) -> Result<(Descriptor, Package), DescriptorError> {
    if bytes.len() > DESCRIPTOR_BYTES_MAX {
        return Err(DescriptorError::TooLarge);
    }
    let value: Value =
        serde_json::from_slice(bytes).map_err(|e| DescriptorError::Json(e.to_string()))?;
    let object = unwrap(&value).ok_or(DescriptorError::Shape)?;
    language(object)?;
    let configuration = configuration(object)?;
    let mut wanted = Vec::new();
    collect_hosts(&Value::Object(configuration.clone()), &mut wanted, 0);
    capabilities(object, &mut wanted)?;
    let text = Value::Object(configuration).to_string();
    if text.len() > CONFIGURATION_BYTES_MAX {
        return Err(DescriptorError::Member("configuration"));
    }
    let descriptor = Descriptor {
        name: word(object, &["objectName", "name", "sourceCodeClassname"]),
        version: word(object, &["version"]),
        interworking: truthy(member(object, "interworking")),
        constraints: constraints(object)?,
        configuration: text,
        wanted,
        signed: member(object, "signature").and_then(Value::as_str).is_some_and(|s| !s.is_empty()),
        resources: words(object, "hypertyType"),
        data_objects: data_objects(object),
    };
    Ok((descriptor, package(object)?))
}

/// A descriptor stands alone, or alone in a list, or under its name.
fn unwrap(value: &Value) -> Option<&Map<String, Value>> {
    let object = match value {
        Value::Array(items) => items.first().filter(|_| items.len() == 1)?.as_object()?,
        other => other.as_object()?,
    };
    let known = ["sourcePackage", "sourcePackageURL", "language", "configuration", "objectName"];
    if object.len() == 1
        && !known.iter().any(|name| member(object, name).is_some())
        && let Some(inner) = object.values().next().and_then(Value::as_object)
    {
        return Some(inner);
    }
    Some(object)
}

/// A member in any published spelling: as it is, with a leading underscore, in another case.
fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let alike = |key: &str| key.strip_prefix('_').unwrap_or(key).eq_ignore_ascii_case(name);
    object.get(name).or_else(|| object.iter().find(|(key, _)| alike(key)).map(|(_, value)| value))
}

fn truthy(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty() && !text.eq_ignore_ascii_case("false"),
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(_) => true,
    }
}

fn word(object: &Map<String, Value>, names: &[&str]) -> String {
    let text = names.iter().find_map(|name| member(object, name)).map_or(String::new(), |value| {
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    });
    text::bounded(&text, DESCRIPTOR_WORD_BYTES_MAX)
}

/// Texts of a list, of a list as text, or one alone; what is no text is passed over.
fn texts(value: &Value) -> Vec<String> {
    let listed = |items: &[Value]| {
        let texts = items.iter().filter_map(Value::as_str);
        let plain = texts.filter(|text| !text.is_empty() && is_word(text));
        plain.take(LISTED_MAX).map(str::to_owned).collect()
    };
    match value {
        Value::Array(items) => listed(items),
        Value::String(text) if text.trim_start().starts_with('[') => {
            listed(&serde_json::from_str::<Vec<Value>>(text).unwrap_or_default())
        }
        text => listed(std::slice::from_ref(text)),
    }
}

fn words(object: &Map<String, Value>, name: &str) -> Vec<String> {
    member(object, name).map_or_else(Vec::new, texts)
}

/// `dataObjects` of all generations: addresses, or `{"dataObjectURLs": […], "role": …}`.
fn data_objects(object: &Map<String, Value>) -> Vec<String> {
    match member(object, "dataObjects").or_else(|| member(object, "dataObjectUrls")) {
        Some(Value::Object(inner)) => words(inner, "dataObjectURLs"),
        Some(value) => texts(value),
        None => Vec::new(),
    }
}

fn language(object: &Map<String, Value>) -> Result<(), DescriptorError> {
    match member(object, "language") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(text)) => {
            // `javascript_ecma6`, `Javascript ECMA5/6`: published catalogues have them all.
            let lower = text.trim().to_ascii_lowercase();
            let word = lower.split(['_', ' ', '-']).next().unwrap_or_default();
            if ["", "javascript", "js", "ecmascript", "es5", "es6"].contains(&word) {
                Ok(())
            } else {
                Err(DescriptorError::Language(text::bounded(text, 40)))
            }
        }
        Some(_) => Err(DescriptorError::Member("language")),
    }
}

fn configuration(object: &Map<String, Value>) -> Result<Map<String, Value>, DescriptorError> {
    match member(object, "configuration") {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map.clone()),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(Map::new()),
        Some(Value::String(text)) => match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(map)) => Ok(map),
            _ => Err(DescriptorError::Member("configuration")),
        },
        Some(_) => Err(DescriptorError::Member("configuration")),
    }
}

fn constraints(object: &Map<String, Value>) -> Result<Vec<String>, DescriptorError> {
    let unusable = DescriptorError::Member("constraints");
    let value = match member(object, "constraints") {
        // Catalogues keep every member as text.
        Some(Value::String(text)) if text.trim_start().starts_with(['{', '[']) => {
            serde_json::from_str(text).map_err(|_e| unusable.clone())?
        }
        Some(other) => other.clone(),
        None => Value::Null,
    };
    let mut names: Vec<String> = match value {
        Value::Object(map) => {
            map.into_iter().filter(|(_, set)| truthy(Some(set))).map(|(name, _)| name).collect()
        }
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or(unusable.clone()))
            .collect::<Result<_, _>>()?,
        other if !truthy(Some(&other)) => Vec::new(),
        Value::String(text) => vec![text],
        _ => return Err(unusable),
    };
    for name in &mut names {
        *name = name.to_ascii_lowercase();
        if !is_word(name) {
            return Err(DescriptorError::Member("constraints"));
        }
    }
    names.sort();
    names.dedup();
    if names.len() > CONSTRAINTS_MAX {
        return Err(DescriptorError::Member("constraints"));
    }
    Ok(names)
}

fn package(object: &Map<String, Value>) -> Result<Package, DescriptorError> {
    let url = |value: &Value| value.as_str().filter(|url| !url.is_empty()).map(str::to_owned);
    match member(object, "sourcePackage") {
        Some(Value::Object(source)) => match member(source, "sourceCode") {
            Some(Value::String(text)) if text.is_empty() => Err(DescriptorError::NoCode),
            Some(Value::String(text)) => {
                let encoding = match member(source, "encoding") {
                    None | Some(Value::Null) => Encoding::None,
                    Some(Value::String(name)) => match name.to_ascii_lowercase().as_str() {
                        "" | "none" | "utf-8" | "utf8" => Encoding::None,
                        "base64" => Encoding::Base64,
                        _ => return Err(DescriptorError::Member("encoding")),
                    },
                    Some(_) => return Err(DescriptorError::Member("encoding")),
                };
                Ok(Package::Inline { text: text.clone(), encoding })
            }
            None | Some(Value::Null) => member(object, "sourcePackageURL")
                .and_then(url)
                .map(Package::Url)
                .ok_or(DescriptorError::NoCode),
            Some(_) => Err(DescriptorError::Member("sourceCode")),
        },
        None | Some(Value::Null) => match member(object, "sourcePackageURL") {
            Some(value) if truthy(Some(value)) => {
                url(value).map(Package::Url).ok_or(DescriptorError::Member("sourcePackageURL"))
            }
            _ => Ok(Package::Beside),
        },
        Some(_) => Err(DescriptorError::Member("sourcePackage")),
    }
}

fn capabilities(
    object: &Map<String, Value>,
    wanted: &mut Vec<WantedHost>,
) -> Result<(), DescriptorError> {
    let net = object
        .get("runtime")
        .and_then(|runtime| runtime.get("capabilities"))
        .and_then(|capabilities| capabilities.get("net"));
    let Some(net) = net else { return Ok(()) };
    let items = net.as_array().ok_or(DescriptorError::Member("runtime.capabilities.net"))?;
    for item in items {
        let host = match item {
            Value::String(text) => host_of_url(text).or_else(|| host_port(text, 443, true)),
            Value::Object(asked) => asked_host(asked),
            _ => None,
        };
        push(wanted, host.ok_or(DescriptorError::Member("runtime.capabilities.net"))?);
    }
    Ok(())
}

/// `{"host": "sip.example.com", "port": 443, "tls": true}`; by TLS unless it says otherwise.
fn asked_host(asked: &Map<String, Value>) -> Option<WantedHost> {
    let secure = asked.get("tls").is_none_or(|tls| truthy(Some(tls)));
    let default = if secure { 443 } else { 80 };
    let port = match asked.get("port") {
        None | Some(Value::Null) => default,
        Some(port) => u16::try_from(port.as_u64()?).ok()?,
    };
    // A port belongs into `port` only, or the two could disagree.
    host_port(asked.get("host")?.as_str()?, port, secure).filter(|found| found.port == port)
}

fn push(wanted: &mut Vec<WantedHost>, host: WantedHost) {
    if let Some(known) = wanted.iter_mut().find(|w| w.host == host.host && w.port == host.port) {
        // Asked for both ways: the plain one must not hide the other.
        known.secure |= host.secure;
    } else if wanted.len() < WANTED_HOSTS_MAX {
        wanted.push(host);
    }
}

fn collect_hosts(value: &Value, wanted: &mut Vec<WantedHost>, depth: usize) {
    if depth > JSON_DEPTH_MAX {
        return;
    }
    let deeper = depth.saturating_add(1);
    match value {
        Value::String(text) => {
            if let Some(host) = host_of_url(text) {
                push(wanted, host);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_hosts(item, wanted, deeper)),
        Value::Object(map) => map.values().for_each(|item| collect_hosts(item, wanted, deeper)),
        _ => {}
    }
}

fn host_of_url(text: &str) -> Option<WantedHost> {
    let (scheme, rest) = text.split_once("://")?;
    let (port, secure) = match scheme.to_ascii_lowercase().as_str() {
        "https" | "wss" => (443, true),
        "http" | "ws" => (80, false),
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host_port(authority, port, secure)
}

fn host_port(text: &str, default: u16, secure: bool) -> Option<WantedHost> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && !port.contains(']') => {
            (host, port.parse().ok()?)
        }
        _ => (text, default),
    };
    let host = host.to_ascii_lowercase();
    (is_host(&host) && port != 0).then_some(WantedHost { host, port, secure })
}
