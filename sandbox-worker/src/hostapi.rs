//! What a component finds around itself: the host API in JavaScript, in the order it is set up.
//!
//! Each part is a function of three objects: `host`, the native functions of `engine::natives`;
//! `global`, what the component sees; `api`, what the parts and the engine know of one another and
//! no component ever sees.

/// Names and sources.
pub(crate) const PARTS: &[(&str, &str)] = &[
    ("host:base.js", include_str!("hostapi/base.js")),
    ("host:events.js", include_str!("hostapi/events.js")),
    ("host:timers.js", include_str!("hostapi/timers.js")),
    ("host:console.js", include_str!("hostapi/console.js")),
    ("host:encoding.js", include_str!("hostapi/encoding.js")),
    ("host:bus.js", include_str!("hostapi/bus.js")),
    ("host:websocket.js", include_str!("hostapi/websocket.js")),
    ("host:http.js", include_str!("hostapi/http.js")),
    ("host:factory.js", include_str!("hostapi/factory.js")),
    ("host:window.js", include_str!("hostapi/window.js")),
    ("host:loader.js", include_str!("hostapi/loader.js")),
];
