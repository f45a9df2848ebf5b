//! What a component finds around itself: the host API in JavaScript, in the order it is set up.
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

/// Names, and what `build.rs` made of the sources: modules that export such a function. A worker
/// that parses them itself needs some milliseconds more for its start.
pub(crate) const PARTS: ScaBundleData<&'static [u8]> = parts![
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
];

/// Parts that a component may never need: set up when one asks for them.
pub(crate) const LATER: ScaBundleData<&'static [u8]> =
    parts!["syncdata", "syncobject", "syncends", "syncher"];
