//! The published delivery forms, written here with the same habits.

use super::{Bench, RUNTIME, URL, message, setup};
use serde_json::json;

const ECHO: &str = r"
  function wire(url, bus, config, factory) {
    bus.addListener('*', function (msg) {
      bus.postMessage({ id: msg.id, type: 'response', from: msg.to, to: msg.from, body: {
        code: 200, url: url, runtime: config.runtimeURL, node: config.url, factory: typeof factory } });
    });
  }";

fn answers(code: &str) -> String {
    let mut bench = Bench::new(setup());
    let name = bench.start(code.as_bytes()).unwrap_or_else(|e| panic!("{e} {:?}", bench.logs));
    bench.deliver(&message("read", "hyperty://home.example/a", "hyperty://far.example/b"));
    let expected = json!({"code": 200, "url": URL, "runtime": RUNTIME, "node": "ws://node.example:9000/ws", "factory": "object"});
    assert_eq!(bench.told("hyperty://home.example/a"), &expected, "{:?}", bench.logs);
    name
}

#[test]
fn a_an_es_module_with_a_default_function() {
    let code = format!(
        "{ECHO}
         export default function activate(url, bus, config, factory) {{
           wire(url, bus, config, factory); return {{ name: 'A', instance: {{}} }}; }}"
    );
    assert_eq!(answers(&code), "A");
}

#[test]
fn a_mixed_with_require_and_import_and_with_bytes_that_are_no_text() {
    let code = format!(
        "{ECHO}
         import Socket from 'ws';
         const io = require('ws');
         export default function activate(url, bus, config, factory) {{
           if (io !== WebSocket || Socket !== WebSocket) {{ throw new Error('no socket'); }}
           wire(url, bus, config, factory); return {{ name: 'A2', instance: {{}} }}; }}"
    );
    assert_eq!(answers(&code), "A2");
    let mut bytes = code.into_bytes();
    bytes.extend_from_slice(b"\n// \xFF\xFE caf\xE9");
    assert_eq!(Bench::new(setup()).start(&bytes), Ok("A2".to_owned()));
}

#[test]
fn b_common_js_as_babel_writes_it() {
    let code = format!(
        "'use strict';
         Object.defineProperty(exports, '__esModule', {{ value: true }});
         exports.default = activate;
         {ECHO}
         function activate(url, bus, config, factory) {{
           wire(url, bus, config, factory); return {{ name: 'B', instance: {{}} }}; }}"
    );
    assert_eq!(answers(&code), "B");
    assert_eq!(answers(&format!("{code}\nmodule.exports = exports['default'];")), "B");
}

const UMD: &str = r#"(function(f){if(typeof exports==="object"&&typeof module!=="undefined"){module.exports=f()}
  else if(typeof define==="function"&&define.amd){define([],f)}
  else{var g;if(typeof window!=="undefined"){g=window}else if(typeof global!=="undefined"){g=global}
  else if(typeof self!=="undefined"){g=self}else{g=this}g.activate = f()}})"#;

#[test]
fn c_browserify_standalone_with_a_default_or_a_bare_function() {
    let inner = |give: &str| {
        format!(
            "{UMD}(function(){{ var define,module,exports; {ECHO}
               function activate(url, bus, config, factory) {{
                 wire(url, bus, config, factory); return {{ name: 'C', instance: {{}} }}; }}
               return {give}; }});"
        )
    };
    assert_eq!(answers(&inner("activate")), "C");
    assert_eq!(answers(&inner("{ default: activate, __esModule: true }")), "C");
}

#[test]
fn c_code_that_only_leaves_a_global_or_a_top_level_function_behind() {
    let body = "wire(url, bus, config, factory); return { name: 'G', instance: {} };";
    for place in ["self", "globalThis"] {
        let code =
            format!("{ECHO} {place}.activate = function (url, bus, config, factory) {{ {body} }};");
        assert_eq!(answers(&code), "G");
    }
    assert_eq!(
        answers(&format!("{ECHO} function activate(url, bus, config, factory) {{ {body} }}")),
        "G"
    );
    let code = format!(
        "{ECHO} var activate = {{ default: (url, bus, config, factory) => {{ {body} }} }};"
    );
    assert_eq!(answers(&code), "G");
}

#[test]
fn d_webpack_umd_with_a_library_name() {
    let code = format!(
        "(function webpackUniversalModuleDefinition(root, factory) {{
           if(typeof exports === 'object' && typeof module === 'object') module.exports = factory();
           else if(typeof define === 'function' && define.amd) define('activate', [], factory);
           else if(typeof exports === 'object') exports['activate'] = factory();
           else root['activate'] = factory();
         }})(this, function() {{ return (function(modules) {{ return modules[0](); }})([function () {{
           {ECHO}
           return function activate(url, bus, config, factory) {{
             wire(url, bus, config, factory); return {{ name: 'D', instance: {{}} }}; }};
         }}]); }});"
    );
    assert_eq!(answers(&code), "D");
}

#[test]
fn e_system_register_with_a_class_that_is_started() {
    let code = format!(
        "System.register([], function(__WEBPACK_DYNAMIC_EXPORT__) {{ return {{ execute: function() {{
           {ECHO}
           class Stub {{
             _start(url, bus, config, factory) {{ this._syncher = factory.createSyncher(url, bus, config); wire(url, bus, config, factory); }}
             get descriptor() {{ return undeclared; }}
             get name() {{ return 'E'; }}
           }}
           __WEBPACK_DYNAMIC_EXPORT__('default', Stub);
         }} }}; }});"
    );
    assert_eq!(answers(&code), "E");
}

#[test]
fn f_an_abstract_class_with_init_and_a_name_that_throws() {
    let code = format!(
        "System.register('stub', [], function(_export, _context) {{ 'use strict'; var Stub; return {{ setters: [], execute: function() {{
           {ECHO}
           function Abstract() {{}}
           Abstract.prototype._init = function (url, bus, config, factory) {{ wire(url, bus, config, factory); }};
           Stub = function Proxied() {{ Abstract.call(this); }};
           Stub.prototype = Object.create(Abstract.prototype, {{ constructor: {{ value: Stub }},
             name: {{ get: function () {{ return protostubDescriptor.name; }} }} }});
           Stub.prototype._start = function (url, bus, config, factory) {{ Abstract.prototype._init.call(this, url, bus, config, factory); }};
           _export({{ default: Stub }});
         }} }}; }});"
    );
    assert_eq!(answers(&code), "Proxied");
}

#[test]
fn an_activate_that_promises_is_waited_for() {
    let code = format!(
        "{ECHO}
         export default async function (url, bus, config, factory) {{
           await new Promise((resolve) => queueMicrotask(resolve));
           wire(url, bus, config, factory);
           return {{ name: 'later', instance: {{}} }}; }}"
    );
    assert_eq!(answers(&code), "later");
}

#[test]
fn a_script_is_run_as_sloppy_as_it_was_written() {
    let code = "leaked = 017; exports.default = function () { return { name: typeof leaked + leaked, instance: null }; };";
    assert_eq!(Bench::new(setup()).start(code.as_bytes()), Ok("number15".to_owned()));
}

#[test]
fn a_configuration_of_json_in_json_is_read_and_gets_the_runtime() {
    let mut setup = setup();
    setup.config = serde_json::to_string(r#"{"deep":{"n":7}}"#).unwrap();
    let mut bench = Bench::new(setup);
    let code = "exports.default = (url, bus, config) => ({ name: `${config.deep.n} ${config.runtimeURL}` });";
    assert_eq!(bench.start(code.as_bytes()), Ok(format!("7 {RUNTIME}")));
}

#[test]
fn what_does_not_load_or_activate_says_where_and_why() {
    let fails = |code: &str, expected: &str| {
        let mut bench = Bench::new(setup());
        let failed = bench.start(code.as_bytes()).unwrap_err();
        assert!(failed.starts_with(expected), "{failed}");
    };
    fails("throw new Error('on purpose')", "load: Error: on purpose");
    fails("export default function ( {", "load: SyntaxError: ");
    fails("var a = ;", "load: SyntaxError: ");
    fails("var nothing = 1;", "load: Error: the code exports nothing that can be activated");
    fails("require('http')", "load: Error: require('http'): there is no such module here");
    fails("import http from 'http'; export default 1", "load: ");
    fails("export default function () { throw new TypeError('bad'); }", "activate: TypeError: bad");
    fails("export default async () => { throw { code: 7 }; }", "activate: {\"code\":7}");
    fails("for (;;) {}", "load: interrupted: the turn took longer than 2000 ms");
    fails("await 1; for (;;) {} export default 1", "load: interrupted");
    fails("export default () => { for (;;) {} }", "activate: interrupted");
}
