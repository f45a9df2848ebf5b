//! What a component finds around itself: the host API in JavaScript.
//!
//! Each part is a function of three objects: `host`, the native functions of `engine::natives`;
//! `global`, what the component sees; `api`, what the parts and the engine know of one another and
//! no component ever sees.

use rquickjs::loader::bundle::ScaBundleData;

macro_rules! parts {
    ($($name:literal),* $(,)?) => {
        &[$((
            concat!("host:", $name, ".js"),
            include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".bytecode")),
        )),*]
    };
}

/// Names of the parts that every engine begins with, in the order they are set up. The others are
/// set up when something of theirs is first read; `globals.js` knows what.
pub(crate) const FIRST: &[&str] = &[
    "host:globals.js",
    "host:base.js",
    "host:timers.js",
    "host:console.js",
    "host:bus.js",
    "host:loader.js",
];

/// Names, and what `build.rs` made of the sources: modules that export such a function. A worker
/// that parses them itself needs some milliseconds more for its start.
pub(crate) const PARTS: ScaBundleData<&'static [u8]> = parts![
    "globals",
    "base",
    "events",
    "timers",
    "console",
    "encoding",
    "bus",
    "websocket",
    "http",
    "factory",
    "window",
    "loader",
    "syncdata",
    "syncobject",
    "syncends",
    "syncher",
];
