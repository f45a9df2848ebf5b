//! Round trips and messages from stub to stub: an application tells the stub of one domain to ask
//! the stub of the other, and gets its figures as the answer.

use crate::control;
use crate::figures::Run;
use crate::worlds::{PING, PONG, World};
use serde_json::{Value, json};
use system_tests::app::App;

/// The bytes of a frame beside its body: header, id, and the addresses of two stubs.
pub(crate) const FRAME_REST: usize = 48 + 4 + 2 * 66;

/// Two stubs that know each other.
#[derive(Debug)]
pub(crate) struct Stubs {
    app: App,
    peer: String,
}

impl Stubs {
    /// Deploys both.
    pub(crate) fn new(world: &World) -> Self {
        control::deploy(world.root(), PING);
        let peer = control::deploy(world.root(), PONG).url;
        Self { app: world.driver("driver"), peer }
    }

    /// So many round trips with frames of `size` bytes.
    pub(crate) fn round_trips(&mut self, size: usize, count: usize) -> Run {
        self.drive("rtt", size, count)
    }

    /// So many messages in one direction.
    pub(crate) fn one_way(&mut self, size: usize, count: usize) -> Run {
        self.drive("oneway", size, count)
    }

    fn drive(&mut self, mode: &str, size: usize, count: usize) -> Run {
        let pad = size.saturating_sub(FRAME_REST + r#"{"value":""}"#.len());
        let drive = json!({"mode": mode, "peer": self.peer, "count": count, "pad": pad});
        let to = format!("hyperty://{PING}/driver");
        let answer: Value = self.app.call("execute", &to, &json!({"drive": drive}));
        let body = &answer["body"];
        assert_eq!((&body["code"], &body["wrong"]), (&json!(200), &json!(0)), "{answer}");
        let middle = body["middle"].as_f64().expect("a figure");
        Run { middle, high: body["high"].as_f64().unwrap_or(f64::NAN) }
    }
}
