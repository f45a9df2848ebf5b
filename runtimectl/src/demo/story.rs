//! The story: an unknown domain is reached, its stub is killed under traffic and comes back, and
//! the operator sees all of it.

use super::world::{DOMAINS, LOOK, PATIENCE, World};
use super::{Steps, broken};
use crate::output::Failure;
use crate::render;
use peers::bus::App;
use protocol::control::{Command, PsRow, Reply};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Instant;

/// Requests under way when the stub is killed.
const TRAFFIC: u64 = 200;

pub(super) async fn tell(world: &World, steps: &mut Steps) -> Result<(), Failure> {
    let mut alice = App::connect(&world.bus(), "alice-app", &["hyperty://localhost/alice"])
        .await
        .map_err(|error| broken("application", error))?;
    steps.ok(&format!("an application joins as {}", alice.address()))?;
    let mut answers = Vec::new();
    for domain in DOMAINS {
        answers.push(unknown_domain(world, steps, &mut alice, domain).await?);
    }
    let before = answers.first().cloned().unwrap_or_default();
    killed(world, steps, &mut alice, &before).await?;
    seen_by_the_operator(world, steps).await
}

/// Asks somebody at a domain that nothing here knows.
async fn unknown_domain(
    world: &World,
    steps: &mut Steps,
    alice: &mut App,
    domain: &str,
) -> Result<Value, Failure> {
    Steps::say(&format!("\n-- a message to hyperty://{domain}/bob; nothing here knows {domain}"))?;
    match world.ask(Command::Resolve { address: format!("hyperty://{domain}/bob") }).await? {
        Reply::Resolve(reply) if reply.decision == "deploy" => {
            steps.ok("resolve says: deploy its stub")?;
        }
        other => return Err(broken("resolve", format!("{other:?}"))),
    }
    let answer = ask(alice, domain).await?;
    let events = world.events().await?;
    let started = events
        .iter()
        .find(|row| row.name == domain && row.event == "deploy-started")
        .map_or(0, |row| row.time_ms);
    for wanted in ["descriptor", "policy", "source", "sandbox-proved", "assign", "activate"] {
        let row = events
            .iter()
            .rev()
            .find(|row| {
                row.name == domain && (row.event == wanted || row.detail.starts_with(wanted))
            })
            .ok_or_else(|| broken(wanted, "there is no such event"))?;
        let ms = row.time_ms.saturating_sub(started);
        Steps::say(&format!("   {ms:>5} ms  {:<14} {}", row.event, row.detail))?;
    }
    let row = wait_live(world, domain).await?;
    steps.ok(&format!(
        "{domain} is {} and says {}: pid {}, level {}",
        row.state,
        row.status,
        row.pid.unwrap_or_default(),
        row.level
    ))?;
    steps.ok(&format!("the answer came back from {}", text(&answer, "/from")))?;
    Ok(answer)
}

/// The text at a place of a document; empty if there is none.
fn text<'a>(value: &'a Value, place: &str) -> &'a str {
    value.pointer(place).and_then(Value::as_str).unwrap_or_default()
}

/// The code of a response.
fn code(value: &Value) -> Option<u64> {
    value.pointer("/body/code").and_then(Value::as_u64)
}

async fn ask(alice: &mut App, domain: &str) -> Result<Value, Failure> {
    let request = json!({
        "type": "read", "to": format!("hyperty://{domain}/bob"), "body": {"question": "who are you?"},
    });
    let answer = alice.request(request).await.map_err(|error| broken("answer", error))?;
    if code(&answer) == Some(200) && text(&answer, "/body/value/domain") == domain {
        Ok(answer)
    } else {
        Err(broken("answer", answer))
    }
}

async fn row(world: &World, domain: &str) -> Result<Option<PsRow>, Failure> {
    match world.ask(Command::Ps { all: false }).await? {
        Reply::Ps(rows) => Ok(rows.into_iter().find(|row| row.name == domain)),
        other => Err(broken("ps", format!("{other:?}"))),
    }
}

async fn wait_live(world: &World, domain: &str) -> Result<PsRow, Failure> {
    let until = Instant::now().checked_add(PATIENCE);
    loop {
        let found = row(world, domain).await?;
        if let Some(row) =
            found.as_ref().filter(|row| row.status == "live" && row.state == "active")
        {
            return Ok(row.clone());
        }
        if until.is_none_or(|until| Instant::now() > until) {
            return Err(broken("live", format!("{found:?}")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// `kill -9` of the stub while requests are under way: each has one answer, and then the same
/// answer comes as before.
async fn killed(
    world: &World,
    steps: &mut Steps,
    alice: &mut App,
    before: &Value,
) -> Result<(), Failure> {
    let [domain, _] = DOMAINS;
    Steps::say("\n-- kill -9 of its stub under traffic")?;
    let downloads = world.downloads();
    let sessions = world.sessions();
    let old = row(world, domain).await?.and_then(|row| row.pid);
    let mut open = BTreeSet::new();
    for number in 0..TRAFFIC {
        let id = format!("traffic-{number}");
        let message = json!({
            "id": id, "type": "read", "to": format!("hyperty://{domain}/bob"), "body": {"number": number},
        });
        alice.send(&message).await.map_err(|error| broken("traffic", error))?;
        open.insert(id);
        if number == TRAFFIC / 2 {
            match world.ask(Command::Kill { name: domain.to_owned(), signal: 9 }).await? {
                Reply::Done => steps.ok(&format!("killed pid {}", old.unwrap_or_default()))?,
                other => return Err(broken("kill", format!("{other:?}"))),
            }
        }
    }
    let (mut good, mut reasoned) = (0_u64, 0_u64);
    while !open.is_empty() {
        let response = alice.next().await.map_err(|error| broken("traffic", error))?;
        let id = text(&response, "/id");
        if text(&response, "/type") != "response" || !open.remove(id) {
            return Err(broken("one answer each", response));
        }
        if code(&response) == Some(200) {
            good = good.saturating_add(1);
        } else if !text(&response, "/body/reason").is_empty() {
            reasoned = reasoned.saturating_add(1);
        } else {
            return Err(broken("a reason", response));
        }
    }
    steps.ok(&format!(
        "{TRAFFIC} requests, {TRAFFIC} answers: {good} from the domain, {reasoned} with a reason from the runtime"
    ))?;
    let row = wait_live(world, domain).await?;
    if row.pid == old || row.restarts == 0 {
        return Err(broken("restart", format!("{row:?}")));
    }
    steps.ok(&format!("its stub is live again as pid {}", row.pid.unwrap_or_default()))?;
    let after = ask(alice, domain).await?;
    if after.get("body") != before.get("body") {
        return Err(broken("the same answer", after));
    }
    if world.downloads() != downloads || world.sessions() <= sessions {
        return Err(broken("restart", "the catalogue was asked again, or the node was not"));
    }
    steps.ok("the same answer as before; the catalogue was not asked again")
}

/// What the operator sees.
async fn seen_by_the_operator(world: &World, steps: &mut Steps) -> Result<(), Failure> {
    let [domain, _] = DOMAINS;
    Steps::say("\n-- what the operator sees\n$ runtimectl ps")?;
    match world.ask(Command::Ps { all: true }).await? {
        Reply::Ps(rows) => Steps::say(&render::ps_table(&rows))?,
        other => return Err(broken("ps", format!("{other:?}"))),
    }
    Steps::say(&format!("\n$ runtimectl resolve hyperty://{domain}/bob"))?;
    match world.ask(Command::Resolve { address: format!("hyperty://{domain}/bob") }).await? {
        Reply::Resolve(reply) if reply.decision == "deliver" => {
            Steps::say(&render::resolve_text(&reply))?;
        }
        other => return Err(broken("resolve", format!("{other:?}"))),
    }
    Steps::say("\n$ runtimectl events (the last ones)")?;
    let events = world.events().await?;
    for event in events.iter().rev().take(6).rev() {
        Steps::say(&render::event_text(event))?;
    }
    match world.ask(Command::Status).await? {
        Reply::Status(status) => {
            let sum = [status.delivered, status.refused, status.expired, status.queued]
                .iter()
                .fold(0_u64, |sum, part| sum.saturating_add(*part));
            Steps::say(&format!(
                "\n$ runtimectl status\n{}",
                render::status_text(&status).trim_end()
            ))?;
            if sum != status.accepted {
                return Err(broken("conservation", format!("{status:?}")));
            }
        }
        other => return Err(broken("status", format!("{other:?}"))),
    }
    steps.ok("nothing was lost: accepted = delivered + refused + expired + queued")
}
