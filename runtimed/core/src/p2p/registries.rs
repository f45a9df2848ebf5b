//! Who is registered at the other end of a connection, and the handler's listener for it (seed
//! `p2p-connection-messages`: Add Handler listener, Subscribe for Registry changes).

use crate::bus::Peer;
use crate::bus::own::{Asking, Outcome, Part, Purpose};
use crate::core::Core;
use crate::input::LinkId;
use crate::resolve::{CHANGES, REGISTRY};
use crate::ua::{Happened, Refusal};
use protocol::address::Address;
use protocol::frame::FrameRef;
use protocol::message::MessageType;
use protocol::reason::Reason;
use serde_json::{Value, json};

/// The address of a connection that somebody made to the handler: below the handler, so that it
/// says who it is with.
fn connection_url(handler: &str, runtime: &str) -> String {
    let place = runtime.split_once("://").map_or(runtime, |(_, place)| place);
    format!("{handler}/{place}")
}

/// Addresses of a list; what is none is left out.
fn addresses(list: Option<&Value>) -> Vec<Address> {
    let texts = list.and_then(Value::as_array).into_iter().flatten();
    texts.filter_map(|text| Address::parse(text.as_str()?).ok()).collect()
}

impl Core {
    /// The handler is to listen at the address of the connection, which is its from now on.
    pub(super) fn add_listener(&mut self, runtime: &str, link: LinkId) {
        let handler = self.ua.handler_address().to_string();
        let connection = connection_url(&handler, runtime);
        self.give(link, &connection);
        self.ask(Asking {
            from: Part::Registry,
            body: json!({"subscribe": [connection], "source": handler}).to_string(),
            source: Some(handler.clone()),
            to: handler,
            kind: MessageType::Subscribe,
            within_ms: None,
            purpose: Purpose::Listener,
        });
    }

    /// The connection is gone, and its address with it.
    pub(super) fn remove_listener(&mut self, runtime: &str, link: LinkId) {
        let handler = self.ua.handler_address().to_string();
        let connection = connection_url(&handler, runtime);
        if let Some(link) = self.bus.links.get_mut(&link)
            && let Some(at) = link.addresses.iter().position(|own| **own == *connection)
        {
            link.addresses.swap_remove(at);
            self.bus.names.unregister(&connection);
        }
    }

    /// Asks a runtime who is registered there and for what changes; `after` for the rest of a list.
    pub(super) fn ask_who_is_there(&mut self, runtime: &str, after: Option<&str>) {
        let mut body = json!({"subscribe": [format!("{runtime}/{CHANGES}")]});
        if let (Some(after), Some(object)) = (after, body.as_object_mut()) {
            object.insert("after".to_owned(), json!(after));
        }
        self.ask(Asking {
            from: Part::Registry,
            to: format!("{runtime}/{REGISTRY}"),
            kind: MessageType::Subscribe,
            body: body.to_string(),
            source: None,
            within_ms: None,
            purpose: Purpose::AtPeer(runtime.to_owned()),
        });
    }

    /// What it answered. One that does not say is asked for everything of its domain.
    pub(crate) fn who_is_there(&mut self, runtime: &str, outcome: Outcome) {
        let Ok(body) = outcome.agreed() else { return };
        let Ok(body) = serde_json::from_slice::<Value>(&body) else { return };
        self.listed_by(runtime, &addresses(body.get("value")), &[]);
        match body.get("next").and_then(Value::as_str) {
            Some(next) if self.p2p.connections.is_open(runtime) => {
                self.ask_who_is_there(runtime, Some(next));
            }
            _ => self.p2p.connections.has_listed(runtime),
        }
        self.bus.names.touch();
    }

    fn listed_by(&mut self, runtime: &str, added: &[Address], removed: &[Address]) {
        let refused = self.p2p.connections.list(runtime, added, removed);
        if refused > 0 {
            let refused = u64::try_from(refused).unwrap_or(u64::MAX);
            self.ua.door.refused = self.ua.door.refused.saturating_add(refused);
            let Some(all) = self.p2p.listed.take(self.bus.now, refused) else { return };
            let more = match all.saturating_sub(refused) {
                0 => String::new(),
                before => format!(", and {before} more were listed before"),
            };
            let text = format!("{runtime} lists {refused} addresses that are not its own{more}");
            let what = Happened::new("refused", "p2p", &text).reason(Reason::Forged.token());
            self.ua.event(self.bus.now, what, &mut self.ua_out);
        }
    }

    /// A runtime tells what has changed there.
    pub(crate) fn peer_changed(&mut self, by: Peer, view: &FrameRef<'_>) -> Result<(), Refusal> {
        let told =
            matches!(by, Peer::Link(link) if self.p2p.connections.tells_changes(link, view.to()));
        let runtime = view.to().strip_suffix(CHANGES).and_then(|text| text.strip_suffix('/'));
        let runtime = runtime.filter(|runtime| {
            told && view.from().strip_prefix(*runtime) == Some(&format!("/{REGISTRY}"))
        });
        let Some(runtime) = runtime else {
            return Err(Refusal::new(Reason::Forged, "this is not for the sender to say"));
        };
        let malformed = |_e| Refusal::new(Reason::Malformed, "the body is not JSON");
        let body: Value = serde_json::from_slice(view.body()).map_err(malformed)?;
        let runtime = runtime.to_owned();
        let (added, removed) = (addresses(body.get("value")), addresses(body.get("removed")));
        self.listed_by(&runtime, &added, &removed);
        self.bus.names.touch();
        // Whoever else is subscribed to it here.
        self.publish(view.to(), view.from(), &body.to_string());
        Ok(())
    }
}
