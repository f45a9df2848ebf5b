//! Descriptors as catalogues published them, generation by generation.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// A stub before it is published.
#[derive(Debug, Clone)]
pub struct Stub {
    /// `objectName`.
    pub name: String,
    /// The JavaScript text.
    pub code: String,
    /// What the stub is configured with.
    pub configuration: Value,
    /// Publish the configuration as JSON text instead of an object, as some catalogues did.
    pub configuration_as_text: bool,
    /// What the stub needs of its runtime, by name.
    pub constraints: Value,
    /// The language the code claims to be in.
    pub language: String,
    /// Whether it serves a legacy domain.
    pub interworking: bool,
    /// `runtime.capabilities.net`: hosts and ports asked for beside those in the configuration.
    pub net: Vec<(String, u16)>,
    /// Members that are added last, and replace what is there.
    pub extra: Map<String, Value>,
}

impl Default for Stub {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            code: String::new(),
            configuration: json!({}),
            configuration_as_text: false,
            constraints: json!({}),
            language: "javascript".to_owned(),
            interworking: false,
            net: Vec::new(),
            extra: Map::new(),
        }
    }
}

impl Stub {
    /// A stub of this code that connects to `url`, as message-node stubs are configured.
    pub fn connecting_to(url: &str, code: &str) -> Self {
        let configuration = json!({ "url": url });
        Self { code: code.to_owned(), configuration, ..Self::default() }
    }

    /// 2016–2018: code inline in `sourcePackage`, in base64.
    pub fn inline_base64(&self) -> Value {
        let package = json!({
            "encoding": "base64", "sourceCodeClassname": self.name, "signature": "",
            "sourceCode": STANDARD.encode(&self.code),
        });
        self.packaged(package)
    }

    /// 2016–2018: code inline in `sourcePackage`, as it is.
    pub fn inline_plain(&self) -> Value {
        self.packaged(json!({"sourceCodeClassname": self.name, "sourceCode": self.code}))
    }

    /// 2016–2018: `sourcePackageURL` names where [`Stub::source_package`] or the bare code lies.
    pub fn by_url(&self, url: &str) -> Value {
        self.descriptor(vec![("sourcePackageURL", json!(url))])
    }

    /// What a `sourcePackageURL` answered: a package on its own.
    pub fn source_package(&self) -> Value {
        json!({
            "encoding": "base64", "sourceCodeClassname": self.name,
            "sourceCode": STANDARD.encode(&self.code),
        })
    }

    /// 2019: the short descriptor of `<name>.ps.json`; the code lies beside it in `<name>.ps.js`.
    pub fn ps_json(&self) -> Value {
        let mut short = self.descriptor(Vec::new());
        if let Some(members) = short.as_object_mut() {
            for absent in ["cguid", "version", "type", "messageSchemas"] {
                if !self.extra.contains_key(absent) {
                    members.remove(absent);
                }
            }
        }
        short
    }

    fn packaged(&self, package: Value) -> Value {
        let url = json!("/sourcePackage");
        self.descriptor(vec![("sourcePackageURL", url), ("sourcePackage", package)])
    }

    fn descriptor(&self, members: Vec<(&str, Value)>) -> Value {
        let configuration = if self.configuration_as_text {
            json!(self.configuration.to_string())
        } else {
            self.configuration.clone()
        };
        let mut all = Map::new();
        let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
        put("cguid", json!("10001"));
        put("type", json!("PROTOSTUB"));
        put("version", json!("0.1"));
        put("objectName", json!(self.name));
        put("description", json!("A protostub."));
        put("language", json!(self.language));
        put("signature", json!(""));
        put("messageSchemas", json!(""));
        put("configuration", configuration);
        put("constraints", self.constraints.clone());
        put("interworking", json!(self.interworking));
        if !self.net.is_empty() {
            let net: Vec<_> =
                self.net.iter().map(|(host, port)| json!({"host": host, "port": port})).collect();
            put("runtime", json!({"capabilities": {"net": net}}));
        }
        for (key, value) in members {
            put(key, value);
        }
        all.extend(self.extra.clone());
        Value::Object(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stub() -> Stub {
        Stub::connecting_to("ws://127.0.0.1:9/x/ws", "export default () => 'ä'")
    }

    #[test]
    fn base64_carries_the_code_unchanged() {
        let descriptor = stub().inline_base64();
        let text = descriptor.pointer("/sourcePackage/sourceCode").unwrap().as_str().unwrap();
        assert_eq!(STANDARD.decode(text).unwrap(), stub().code.as_bytes());
        assert_eq!(descriptor["sourcePackageURL"], "/sourcePackage");
    }

    #[test]
    fn configuration_as_text_is_the_same_configuration() {
        let descriptor = Stub { configuration_as_text: true, ..stub() }.inline_plain();
        let text = descriptor["configuration"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), stub().configuration);
        assert_eq!(descriptor["sourcePackage"]["sourceCode"], json!(stub().code));
    }

    #[test]
    fn the_short_descriptor_has_no_code_and_extra_members_win() {
        let mut stub = stub();
        stub.extra.insert("language".to_owned(), json!("cobol"));
        let short = stub.ps_json();
        assert!(short.get("sourcePackage").is_none() && short.get("cguid").is_none());
        assert_eq!(short["language"], "cobol");
        assert_eq!(stub.by_url("http://h/c.js")["sourcePackageURL"], "http://h/c.js");
    }
}
