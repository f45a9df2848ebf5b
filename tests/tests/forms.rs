//! A stub in each of the six published forms loads unmodified and answers.

use serde_json::json;
use system_tests::Daemon;
use system_tests::app::App;
use system_tests::catalogue::{Folder, config};

const REMOTE: &str = "hyperty://example.com/bob";

/// What every form does once it is active: answer requests, say live.
const BODY: &str = r"
  this_bus.addListener('*', function (msg) {
    if (msg.type === 'response') { return; }
    this_bus.postMessage({
      id: msg.id, type: 'response', from: msg.to, to: msg.from,
      body: { code: 200, value: { form: FORM, url: this_url, runtime: this_config.runtimeURL, factory: typeof this_factory } }
    });
  });
";

fn body(form: &str) -> String {
    BODY.replace("FORM", &format!("'{form}'"))
}

fn answer(form: &str, code: &str) -> serde_json::Value {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    catalogue.stub(code);
    let daemon = Daemon::start(&config(&catalogue.url()));
    let mut alice = App::connect(&daemon.bus(), "alice", &["hyperty://localhost/alice"]);
    let response = alice.call("read", REMOTE, &json!({}));
    assert_eq!(response["body"]["code"], 200, "{form}: {response}");
    let value = response["body"]["value"].clone();
    assert_eq!(value["form"], form);
    let row = daemon.row("example.com").unwrap();
    assert_eq!(value["url"], row["url"], "{form}");
    assert_eq!(value["runtime"], alice.welcome["welcome"]["runtime"], "{form}");
    value
}

#[test]
fn form_a_an_es_module() {
    let code = format!(
        "class Stub {{ constructor(this_url, this_bus, this_config, this_factory) {{ {} }} }}
         export default function activate(url, bus, config, factory) {{
           return {{ name: 'A', instance: new Stub(url, bus, config, factory) }};
         }}",
        body("A")
    );
    answer("A", &code);
}

#[test]
fn form_a_mixed_with_require() {
    let code = format!(
        "let WebSocketClass = require('ws');
         export default function activate(this_url, this_bus, this_config, this_factory) {{
           if (typeof WebSocketClass !== 'function') {{ throw new Error('no ws'); }}
           {}
           return {{ name: 'A', instance: {{}} }};
         }}",
        body("A2")
    );
    answer("A2", &code);
}

#[test]
fn form_b_common_js() {
    let code = format!(
        "'use strict';
         Object.defineProperty(exports, '__esModule', {{ value: true }});
         exports.default = activate;
         var Stub = function Stub(this_url, this_bus, this_config, this_factory) {{ {} }};
         function activate(url, bus, config, factory) {{
           return {{ name: 'B', instance: new Stub(url, bus, config, factory) }};
         }}
         module.exports = exports['default'];",
        body("B")
    );
    answer("B", &code);
}

#[test]
fn form_c_browserify_umd() {
    let code = format!(
        "(function(f){{if(typeof exports==='object'&&typeof module!=='undefined'){{module.exports=f()}}else if(typeof define==='function'&&define.amd){{define([],f)}}else{{var g;if(typeof window!=='undefined'){{g=window}}else if(typeof global!=='undefined'){{g=global}}else if(typeof self!=='undefined'){{g=self}}else{{g=this}}g.activate=f()}}}})(function(){{
           var exports = {{}};
           exports.default = function (this_url, this_bus, this_config, this_factory) {{ {}
             return {{ name: 'C', instance: {{}} }}; }};
           return exports;
         }});",
        body("C")
    );
    answer("C", &code);
}

#[test]
fn form_d_webpack_umd() {
    let code = format!(
        "(function webpackUniversalModuleDefinition(root, factory) {{
           if(typeof exports === 'object' && typeof module === 'object') module.exports = factory();
           else if(typeof define === 'function' && define.amd) define('activate', [], factory);
           else if(typeof exports === 'object') exports['activate'] = factory();
           else root['activate'] = factory();
         }})(this, function() {{
           return function (this_url, this_bus, this_config, this_factory) {{ {}
             return {{ name: 'D', instance: {{}} }}; }};
         }});",
        body("D")
    );
    answer("D", &code);
}

#[test]
fn form_e_system_register_with_a_class() {
    let code = format!(
        "System.register([], function (_export) {{
           return {{ setters: [], execute: function () {{
             class Stub {{
               _start(this_url, this_bus, this_config, this_factory) {{
                 this.syncher = this_factory.createSyncher(this_url, this_bus, this_config);
                 {}
                 this_bus.postMessage({{ type: 'update', from: this_url, to: this_url + '/status', body: {{ value: 'created' }} }});
               }}
               get name() {{ return 'E'; }}
             }}
             _export('default', Stub);
           }} }};
         }});",
        body("E")
    );
    assert_eq!(answer("E", &code)["factory"], "object");
}

#[test]
fn form_f_an_abstract_class_with_init() {
    let code = format!(
        "System.register([], function (_export) {{
           return {{ setters: [], execute: function () {{
             class AbstractStub {{
               _init(this_url, this_bus, this_config, this_factory) {{ {} }}
             }}
             class Stub extends AbstractStub {{
               _start(url, bus, config, factory) {{ super._init(url, bus, config, factory); }}
             }}
             _export('default', Stub);
           }} }};
         }});",
        body("F")
    );
    answer("F", &code);
}

#[test]
fn a_configuration_that_is_json_text_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    let code = "export default function activate(url, bus, config) {
        bus.addListener('*', function (m) {
          bus.postMessage({ id: m.id, type: 'response', from: m.to, to: m.from, body: { code: 200, value: config } });
        });
        return { name: 'X', instance: {} };
      }";
    let mut descriptor = system_tests::catalogue::descriptor(code);
    descriptor["configuration"] = json!(r#"{"deep":{"number":7}}"#);
    catalogue.put("default", &descriptor.to_string());
    let daemon = Daemon::start(&config(&catalogue.url()));
    let mut alice = App::connect(&daemon.bus(), "alice", &["hyperty://localhost/alice"]);
    let response = alice.call("read", REMOTE, &json!({}));
    assert_eq!(response["body"]["value"]["deep"]["number"], 7, "{response}");
}
