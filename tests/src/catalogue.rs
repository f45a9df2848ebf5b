//! Catalogues in a folder, and stubs that need no network: small, and full of habits.

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// A stub that answers every request by itself.
pub const ECHO_STUB: &str = r"
export default function activate(url, bus, config) {
  bus.addListener('*', function (message) {
    if (message.type === 'response') return;
    bus.postMessage({
      id: message.id, type: 'response', from: message.to, to: message.from,
      body: { code: 200, value: { echo: message.body, by: url, runtime: config.runtimeURL } }
    });
  });
  bus.postMessage({ type: 'update', from: url, to: url + '/status', body: { value: 'live' } });
  return { name: 'EchoStub', instance: {} };
}
";

/// A stub that takes as many bytes as it is asked for, and keeps them.
pub const HOARDING_STUB: &str = r"
export default function activate(url, bus, config) {
  const kept = [];
  bus.addListener('*', function (message) {
    if (message.type === 'response') return;
    // Filled by one call: a loop would be over its time on a slow machine.
    kept.push(new Uint8Array(message.body.value || 0).fill(1));
    bus.postMessage({
      id: message.id, type: 'response', from: message.to, to: message.from,
      body: { code: 200, value: kept.length }
    });
  });
  return { name: 'HoardingStub', instance: {} };
}
";

/// A `file://` catalogue below a folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// An empty one.
    pub fn new(path: &Path) -> Self {
        fs::create_dir_all(path.join("protocolstub")).expect("a folder");
        Self { path: path.to_owned() }
    }

    /// Its address, for `catalogue = …`.
    pub fn url(&self) -> String {
        format!("file://{}", self.path.display())
    }

    /// Puts this text at `protocolstub/<name>`.
    pub fn put(&self, name: &str, text: &str) {
        fs::write(self.path.join("protocolstub").join(name), text).expect("an entry");
    }

    /// Puts the proxy of an identity provider there, with its code in the file beside its descriptor.
    pub fn proxy(&self, code: &str) {
        let folder = self.path.join("idp-proxy");
        fs::create_dir_all(&folder).expect("a folder");
        let mut named = descriptor("");
        named.as_object_mut().expect("an object").remove("sourcePackage");
        fs::write(folder.join("default.idp.json"), named.to_string()).expect("a descriptor");
        fs::write(folder.join("default.idp.js"), code).expect("its code");
    }

    /// Puts the descriptor of a hyperty with this code inline at `hyperty/<name>`.
    pub fn hyperty(&self, name: &str, code: &str, configuration: &Value) {
        let mut entry = descriptor(code);
        entry["type"] = json!("HYPERTY");
        entry["objectName"] = json!(name);
        entry["hypertyType"] = json!(["chat"]);
        entry["dataObjects"] = json!(["https://example.com/.well-known/dataschema/Communication"]);
        entry["configuration"] = configuration.clone();
        let folder = self.path.join("hyperty");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(name), entry.to_string()).expect("an entry");
    }

    /// Puts a descriptor with this code inline as `default`.
    pub fn stub(&self, code: &str) {
        self.put("default", &descriptor(code).to_string());
    }
}

/// A descriptor with the code inline.
pub fn descriptor(code: &str) -> Value {
    json!({
        "cguid": "1", "type": "PROTOSTUB", "version": "0.1", "description": "test",
        "objectName": "TestStub", "language": "javascript", "signature": "",
        "configuration": {}, "constraints": {},
        "sourcePackage": {"sourceCode": code, "sourceCodeClassname": "TestStub", "encoding": ""},
    })
}

/// `runtimed.toml` with this catalogue for `example.com`.
pub fn config(catalogue: &str) -> String {
    format!("[domain.\"example.com\"]\ncatalogue = \"{catalogue}\"\n")
}
