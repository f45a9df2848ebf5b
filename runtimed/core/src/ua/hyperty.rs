//! Hyperties: components that speak as themselves, each in a sandbox of its own.
//!
//! A hyperty is one place in a catalogue for one user. Its address is its key, and the same in all
//! its lives. It is deployed as a stub is; it never rests, since it acts by itself.

use super::component::{AfterStop, Component, State};
use super::{Refusal, StubRoute, Ua, UaOut};
use crate::bus::scheme_of;
use crate::effect::Effect;
use crate::input::{LinkId, Time};
use crate::limits::{ALLOCATION_NAME_BYTES, HYPERTIES_MAX, HYPERTIES_PER_USER, STATUS_KEPT_MS};
use crate::registry::normalise;
use crate::settings::Settings;
use crate::store::{Change, HypertyRow, Record, RecordKey, Table};
use protocol::address::{Address, RouteKey, is_within};
use protocol::descriptor::Descriptor;
use protocol::reason::Reason;
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt;

/// Path of hyperties below a catalogue.
const FOLDER: &str = "/hyperty/";
/// Where a domain's catalogue is, in an address of any generation.
const WELL_KNOWN: &str = "/.well-known";
/// What an address may say of the file that it means.
const ENDINGS: &[&str] = &[".hy.js", ".hy.json", ".js", ".json"];

/// Where a catalogue lists a hyperty. All spellings of an address are one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Whose catalogue it is.
    pub(crate) domain: String,
    /// Name of the entry.
    pub(crate) name: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, name } = self;
        write!(f, "hyperty-catalogue://catalogue.{domain}{WELL_KNOWN}{FOLDER}{name}")
    }
}

impl Place {
    /// Reads `hyperty-catalogue://…` and `https://` with a domain or its `catalogue.` as host, and
    /// whatever begins with the `catalogue` of a configured domain.
    pub(crate) fn read(url: &str, settings: &Settings) -> Option<Self> {
        let configured = settings.domains.iter().find_map(|(domain, own)| {
            let base = own.catalogue.as_deref()?.trim_end_matches('/');
            let name = url.strip_prefix(base)?.strip_prefix(FOLDER)?;
            (!domain.contains("://")).then_some((domain.as_str(), name))
        });
        let (domain, name) = configured.or_else(|| {
            let (scheme, rest) = url.split_once("://")?;
            let known = ["hyperty-catalogue", "https"];
            known.contains(&scheme.to_ascii_lowercase().as_str()).then_some(())?;
            let (host, path) = rest.split_at_checked(rest.find('/')?)?;
            let host = host.strip_prefix("catalogue.").unwrap_or(host);
            Some((host, path.strip_prefix(WELL_KNOWN)?.strip_prefix(FOLDER)?))
        })?;
        let stem = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.@~+".contains(&b);
        let host = Address::parse(&format!("domain://{domain}")).ok()?;
        let place = Self { domain: host.host().to_owned(), name: stem.to_owned() };
        let proper = !stem.is_empty() && !stem.starts_with('.') && stem.bytes().all(plain);
        (proper && place.to_string().len() <= ALLOCATION_NAME_BYTES).then_some(place)
    }
}

/// What makes a component a hyperty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hyperty {
    /// What it is.
    pub(crate) place: Place,
    /// Whose it is.
    pub(crate) uid: u32,
    /// What the store has of it, and since when if in this life.
    kept: Option<Box<(HypertyRow, Option<Time>)>>,
}

impl Hyperty {
    pub(crate) const fn new(place: Place, uid: u32) -> Self {
        Self { place, uid, kept: None }
    }

    /// Whether it is the same one: what is in the store does not count.
    fn is(&self, other: &Self) -> bool {
        self.place == other.place && self.uid == other.uid
    }
}

impl Ua {
    fn hyperties(&self) -> impl Iterator<Item = (&Component, &Hyperty)> {
        self.components.values().filter_map(|c| Some((c, c.hyperty.as_ref()?)))
    }

    /// The key of a hyperty that is known here, whatever its state.
    pub(crate) fn known_hyperty(&self, hyperty: &Hyperty) -> Option<RouteKey> {
        self.hyperties().find(|(_, known)| known.is(hyperty)).map(|(c, _)| c.key.clone())
    }

    /// The key of the hyperty with exactly this address.
    pub(crate) fn hyperty_at(&self, address: &str) -> Option<RouteKey> {
        let key = RouteKey::Hyperty(address.to_owned());
        self.components.contains_key(&key).then_some(key)
    }

    /// Whose hyperty it is.
    pub(crate) fn hyperty_user(&self, key: &RouteKey) -> Option<u32> {
        self.components.get(key)?.hyperty.as_ref().map(|hyperty| hyperty.uid)
    }

    /// What a registry is told of it, as JSON text.
    pub(crate) fn hyperty_details(&self, key: &RouteKey) -> Option<String> {
        let component = self.components.get(key)?;
        let (place, descriptor) =
            (&component.hyperty.as_ref()?.place, &component.package.as_ref()?.descriptor);
        let details = json!({
            "descriptor": place.to_string(),
            "resources": descriptor.resources,
            "dataSchemes": schemes_of(descriptor),
        });
        Some(details.to_string())
    }

    /// Whether an address is a hyperty's, above or below it.
    pub(crate) fn is_about_hyperty(&self, address: &str) -> bool {
        self.hyperties()
            .any(|(c, _)| is_within(address, c.url.as_str()) || is_within(c.url.as_str(), address))
    }

    /// Whether the link is that of a hyperty, which may do what applications may.
    pub(crate) fn is_hyperty(&self, link: LinkId) -> bool {
        self.bridge_of(link).is_some_and(|own| matches!(own.key, RouteKey::Hyperty(_)))
    }

    /// Whether one more fits. A user's own that failed makes room.
    pub(crate) fn room_for_hyperty(
        &mut self,
        uid: u32,
        out: &mut Vec<UaOut>,
    ) -> Result<(), Refusal> {
        let of_user = |(_, hyperty): &(_, &Hyperty)| hyperty.uid == uid;
        let (own, all) = (self.hyperties().filter(of_user).count(), self.hyperties().count());
        if own < HYPERTIES_PER_USER && all < HYPERTIES_MAX {
            return self.make_room_for_component(out);
        }
        let failed = self
            .hyperties()
            .filter(of_user)
            .find(|(c, _)| c.state == State::Failed && c.waiters.is_empty());
        let failed = failed.map(|(c, _)| c.key.clone());
        match failed {
            Some(key) => {
                self.forget(&key, out);
                Ok(())
            }
            None => Err(Refusal::new(Reason::Overloaded, "too many hyperties").retry(1_000)),
        }
    }

    /// Enters one that has its address now.
    pub(crate) fn enter_hyperty(&mut self, now: Time, url: &Address, hyperty: Hyperty) -> RouteKey {
        let key = RouteKey::Hyperty(url.to_string());
        self.moved = true;
        self.components.entry(key.clone()).or_insert_with(|| {
            let mut component = Component::new(key.clone(), url.clone(), now);
            component.state = State::Dormant;
            component.hyperty = Some(hyperty);
            component
        });
        key
    }

    /// Starts it, unless it runs; one that is being removed comes again afterwards.
    pub(crate) fn load(
        &mut self,
        now: Time,
        key: &RouteKey,
        cause: &str,
        out: &mut Vec<UaOut>,
    ) -> StubRoute {
        let leaving = self.components.get_mut(key).filter(|component| {
            component.state == State::Stopping && component.after_stop == AfterStop::Forget
        });
        if let (Some(component), false) = (leaving, self.stopping) {
            component.after_stop = AfterStop::Anew;
            return StubRoute::Deploying;
        }
        self.stub_for(now, key, cause, out)
    }

    /// Says what is to be kept of a hyperty; `wall` is the time by the calendar.
    pub(crate) fn keep_hyperty(&mut self, now: Time, key: &RouteKey, out: &mut Vec<Effect>) {
        let wall = self.events.wall(now);
        let Some(component) = self.components.get_mut(key) else { return };
        let Some(hyperty) = component.hyperty.as_mut() else { return };
        if hyperty.kept.is_none() && component.state != State::Active {
            return;
        }
        let before = hyperty.kept.as_deref().map(|(row, _)| row);
        let descriptor = component.package.as_ref().map(|package| &package.descriptor);
        let row = HypertyRow {
            url: component.url.to_string(),
            descriptor: hyperty.place.to_string(),
            name: descriptor.map(|d| d.name.clone()).unwrap_or_default(),
            user: format!("uid/{}", hyperty.uid),
            resources: descriptor.map(|d| d.resources.clone()).unwrap_or_default(),
            schemes: descriptor.map(schemes_of).unwrap_or_default(),
            p2p_handler: None,
            p2p_requester: None,
            status: component.status.to_owned(),
            since_ms: before.map_or(wall, |row| row.since_ms),
        };
        component.keep_at = None;
        // Without its code nothing is known of it but what was.
        let row = match before {
            Some(before) if descriptor.is_none() => {
                HypertyRow { status: row.status, ..before.clone() }
            }
            _ => row,
        };
        if let Some((old, at)) = hyperty.kept.as_deref() {
            if *old == row {
                return;
            }
            let soonest = at.map(|at| Time(at.0.saturating_add(STATUS_KEPT_MS)));
            let soonest = soonest.filter(|soonest| now < *soonest);
            let as_old = HypertyRow { status: old.status.clone(), ..row.clone() };
            if soonest.is_some() && as_old == *old {
                component.keep_at = soonest;
                self.moved = true;
                return;
            }
        }
        out.push(Effect::Persist(Box::new(Change::Put(Record::Hyperty(row.clone())))));
        hyperty.kept = Some(Box::new((row, Some(now))));
    }

    /// A hyperty is forgotten for good. Its address stays its user's, and is given again for the
    /// same place.
    pub(super) fn drop_hyperty(hyperty: &Hyperty, url: &str, out: &mut Vec<UaOut>) {
        if hyperty.kept.is_some() {
            forget_row(url, out);
        }
    }

    /// Hyperties that were kept: each has its address, and is started by the next message to it, or
    /// by whoever loads it again.
    pub(crate) fn restore_hyperties(
        &mut self,
        now: Time,
        rows: Vec<HypertyRow>,
        out: &mut Vec<UaOut>,
    ) {
        for row in rows {
            let url = Address::parse(&row.url).ok().filter(|url| {
                let here = url.host() == self.settings.domain && !url.path().is_empty();
                here && url.as_str() == row.url && url.scheme() == "hyperty"
            });
            let place = Place::read(&row.descriptor, &self.settings);
            let uid = row.user.strip_prefix("uid/").and_then(|uid| uid.parse().ok());
            let room = self.hyperties().count() < HYPERTIES_MAX;
            let (Some(url), Some(place), Some(uid), true) = (url, place, uid, room) else {
                forget_row(&row.url, out);
                continue;
            };
            let said = normalise(&row.status).unwrap_or("none");
            let key = self.enter_hyperty(
                now,
                &url,
                Hyperty { place, uid, kept: Some(Box::new((row, None))) },
            );
            // Its process ended with the one that started it.
            let ended = matches!(said, "created" | "in-progress" | "live");
            if let Some(component) = self.components.get_mut(&key) {
                component.status = if ended { "disconnected" } else { said };
            }
            self.mark(&key);
        }
    }
}

/// Schemes of the data objects that a hyperty offers.
fn schemes_of(descriptor: &Descriptor) -> Vec<String> {
    let all: BTreeSet<&str> = descriptor.data_objects.iter().map(|o| scheme_of(o)).collect();
    all.into_iter().map(str::to_owned).collect()
}

fn forget_row(url: &str, out: &mut Vec<UaOut>) {
    let key = RecordKey::new(Table::Hyperty, url);
    out.push(UaOut::Effect(Effect::Persist(Box::new(Change::Delete(key)))));
}

#[cfg(test)]
mod tests {
    use super::Place;
    use crate::settings::{DomainSettings, Settings};
    use std::collections::BTreeMap;

    #[test]
    fn all_spellings_of_a_place_are_one() {
        let own = DomainSettings {
            catalogue: Some("file:///srv/catalogue/".to_owned()),
            ..DomainSettings::default()
        };
        let domains = BTreeMap::from([("a.example".to_owned(), own)]);
        let settings = Settings { domains, ..Settings::default() };
        let place = |url: &str| Place::read(url, &settings).map(|place| place.to_string());
        let a = "hyperty-catalogue://catalogue.a.example/.well-known/hyperty/Chat";
        for url in [
            a,
            "hyperty-catalogue://a.example/.well-known/hyperty/Chat",
            "https://catalogue.A.example/.well-known/hyperty/Chat.hy.js",
            "https://a.example/.well-known/hyperty/Chat.hy.json",
            "file:///srv/catalogue/hyperty/Chat",
        ] {
            assert_eq!(place(url).as_deref(), Some(a), "{url}");
        }
        for url in [
            "",
            "hyperty://a.example/Chat",
            "http://a.example/.well-known/hyperty/Chat",
            "https://a.example/.well-known/protocolstub/default",
            "https://a.example/.well-known/hyperty/",
            "https://a.example/.well-known/hyperty/../secret",
            "https://a.example/.well-known/hyperty/a/b",
            "https://user@a.example/.well-known/hyperty/Chat",
            "https://127.0.0.1/.well-known/hyperty/Chat",
            "file:///etc/hyperty/Chat",
        ] {
            assert_eq!(place(url), None, "{url}");
        }
    }
}
