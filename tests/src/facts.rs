//! Facts that tests of faults ask for again and again.

use crate::app::App;
use crate::{Daemon, wait_for};
use serde_json::{Value, json};

/// All events of a kind about a component, oldest first.
pub fn events(daemon: &Daemon, event: &str, name: &str) -> Vec<Value> {
    let events = daemon.ctl_json(&["events"]);
    let events = events.as_array().expect("a list").iter();
    events.filter(|row| row["event"] == event && row["name"] == name).cloned().collect()
}

/// Waits until there are so many of them.
pub fn wait_events(daemon: &Daemon, event: &str, name: &str, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} events {event} of {name}"), || {
        let found = events(daemon, event, name);
        (found.len() >= count).then_some(found)
    })
}

/// Waits for the first exit of a component and asserts its reason; the event.
pub fn exit_reason(daemon: &Daemon, name: &str, reason: &str) -> Value {
    let exits = wait_events(daemon, "exited", name, 1);
    assert_eq!(exits[0]["reason"], reason, "{exits:#?}");
    exits[0].clone()
}

/// Whether somebody owns exactly this address.
pub fn is_owned(daemon: &Daemon, address: &str) -> bool {
    let told = daemon.ctl_json(&["resolve", address]);
    let steps = told["steps"].as_array().expect("a list");
    steps.iter().any(|step| step["step"] == "owner" && step["found"] == true)
}

/// Subscribes an application to what a component says of itself.
pub fn watch_status(app: &mut App, url: &str) {
    let runtime = app.welcome["welcome"]["runtime"].as_str().expect("an address").to_owned();
    let body = json!({"resources": [format!("{url}/status")]});
    let answer = app.call("subscribe", &format!("{runtime}/subscriptions"), &body);
    assert_eq!(answer["body"]["code"], 200, "{answer}");
}

/// Waits until nothing is queued; conservation holds all the while.
pub fn settled(daemon: &Daemon) -> Value {
    wait_for("nothing is queued", || {
        let messages = daemon.assert_conserved();
        (messages["queued"] == 0).then_some(messages)
    })
}
