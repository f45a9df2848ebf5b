//! The catalogue's part of a deploy: which catalogues are asked, and what they answer.

use super::{Deploy, Source};
use crate::effect::{Attach, Effect};
use crate::grants::Grants;
use crate::input::{CodeHandle, Digest, SandboxId, Time};
use crate::limits::{REFUSED_HOSTS_TOLD, SOURCE_MS, SPAWN_TRIES};
use crate::settings::DomainSettings;
use crate::supervise::INCOMPATIBLE;
use crate::ua::component::Package;
use crate::ua::sandbox::{Owner, Sandbox};
use crate::ua::{Happened, Refusal, Ua, UaOut};
use protocol::address::RouteKey;
use protocol::ctl::{CtlDown, FetchError, FetchJob, Role, Shelf};
use protocol::descriptor::Descriptor;
use protocol::reason::Reason;
use std::collections::VecDeque;

/// `host:port` of an http or https origin or address.
pub(super) fn target_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let port = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?.to_ascii_lowercase();
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Some(if has_port { authority } else { format!("{authority}:{port}") })
}

/// The origin of an address, in the one form that a fetch worker says it in.
fn origin_of(url: &str) -> Option<String> {
    let (scheme, _) = url.split_once("://")?;
    if scheme == "file" {
        return Some("file://".to_owned());
    }
    let target = target_of(url)?;
    let (host, port) = target.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    Some(match (scheme, port) {
        ("https", 443) | ("http", 80) => format!("{scheme}://{host}"),
        _ => format!("{scheme}://{host}:{port}"),
    })
}

impl Deploy {
    /// Whether the descriptor, or after it the code, may be from this origin: one that the worker
    /// was sent to, and never a plainer one than before.
    fn may_be_from(&self, origin: &str) -> bool {
        let Some(source) = &self.source else { return false };
        let before = self.descriptor.as_ref().map_or(&source.base, |(_, origin)| origin);
        let plainer = before.starts_with("https://") && !origin.starts_with("https://");
        let sent = |url| origin_of(url).as_deref() == Some(origin);
        !plainer && source.places().any(sent)
    }
}

impl Ua {
    /// The domain's own catalogue, then the home domain's for a stub named after the domain.
    /// A hyperty is listed where its address says, and nowhere else.
    pub(super) fn sources_for(&self, key: &RouteKey) -> VecDeque<Source> {
        let own = self.domain_settings(key);
        let place = self.components.get(key).and_then(|c| Some(&c.hyperty.as_ref()?.place));
        let domain = place.map_or(key.domain(), |place| &place.domain);
        let names = place.map_or_else(|| key.lookup_names(), |place| vec![place.name.clone()]);
        let source = |settings: &DomainSettings, base: String, alternatives, names| Source {
            own: std::ptr::eq(settings, own),
            base: base.trim_end_matches('/').to_owned(),
            alternatives,
            names,
            settings: settings.clone(),
        };
        let mut sources = VecDeque::new();
        if let (RouteKey::P2pHandler(_) | RouteKey::P2p(_), Some(p2p)) = (key, &self.settings.p2p) {
            // Never in the peer's: its requester would be its code.
            let home = RouteKey::Domain(self.settings.domain.clone());
            let settings = self.domain_settings(&home);
            let base = p2p.catalogue.clone().or_else(|| settings.catalogue.clone());
            if let Some(base) = base {
                sources.push_back(source(settings, base, Vec::new(), key.lookup_names()));
            }
            return sources;
        }
        let (base, alternatives) = match &own.catalogue {
            Some(base) => (base.clone(), Vec::new()),
            None => (
                format!("https://catalogue.{domain}/.well-known"),
                vec![format!("https://{domain}/.well-known")],
            ),
        };
        sources.push_back(source(own, base, alternatives, names));
        if place.is_some() {
            return sources;
        }
        let home = self.settings.domains.get(&self.settings.domain);
        if let Some(home) = home.filter(|_| domain != self.settings.domain)
            && let Some(base) = &home.catalogue
        {
            let mut names = key.lookup_names();
            names.retain(|name| name != "default");
            names.push(domain.to_owned());
            sources.push_back(source(home, base.clone(), Vec::new(), names));
        }
        sources
    }

    /// The folder of the `file://` catalogue that the fetch worker is about.
    pub(crate) fn catalogue_folder(&self, id: SandboxId) -> Option<String> {
        let deploy = self.components.get(&self.key_of(id)?)?.deploy.as_ref()?;
        deploy.source.as_ref()?.base.strip_prefix("file://").map(str::to_owned)
    }

    /// Asks the next catalogue by a fresh worker.
    pub(super) fn next_source(&mut self, now: Time, key: &RouteKey, out: &mut Vec<UaOut>) {
        let next =
            self.components.get_mut(key).and_then(|c| c.deploy.as_mut()).and_then(|deploy| {
                let source = deploy.sources.pop_front()?;
                deploy.private_targets = target_of(&source.base)
                    .into_iter()
                    .chain(source.settings.sources.iter().filter_map(|s| target_of(s)))
                    .collect();
                if !source.settings.private {
                    deploy.private_targets.clear();
                }
                deploy.source = Some(source.clone());
                deploy.source_deadline = Some(Time(now.0.saturating_add(SOURCE_MS)));
                deploy.spawns = 0;
                Some(source)
            });
        let Some(source) = next else {
            let first =
                self.components.get(key).and_then(|c| c.deploy.as_ref()?.first_error.clone());
            let none =
                Refusal::new(Reason::CatalogueAbsent, "no catalogue is known").at("descriptor");
            return self.fail(now, key, first.unwrap_or(none), out);
        };
        if source.base.starts_with("http://") && !source.settings.private {
            let text = format!("{} is plain http, which needs private = true", source.base);
            return self.source_failed(
                now,
                key,
                Refusal::new(Reason::CatalogueDown, text).at("descriptor"),
                out,
            );
        }
        self.spawn_fetch(now, key, out);
    }

    fn spawn_fetch(&mut self, now: Time, key: &RouteKey, out: &mut Vec<UaOut>) {
        let id = self.spawn(now, Role::Fetch, Owner::Component(key.clone()), out);
        if let Some(deploy) = self.components.get_mut(key).and_then(|c| c.deploy.as_mut()) {
            deploy.fetch = Some(id);
        }
    }

    /// The fetch worker is usable: here is its job.
    pub(super) fn give_job(
        &mut self,
        now: Time,
        id: SandboxId,
        key: &RouteKey,
        out: &mut Vec<UaOut>,
    ) {
        let job = self.components.get(key).and_then(|c| c.deploy.as_ref()).and_then(|deploy| {
            let source = deploy.source.clone()?;
            let until = deploy.next_deadline().0.saturating_sub(now.0);
            Some(FetchJob {
                base: source.base,
                alternatives: source.alternatives,
                shelf: match key {
                    RouteKey::Idp(_) => Shelf::IdpProxy,
                    RouteKey::Hyperty(_) => Shelf::Hyperty,
                    _ => Shelf::Protostub,
                },
                names: source.names,
                sources: source.settings.sources,
                ca_pem: source.settings.ca_pem,
                // A little less, so that the worker can still say what was slow.
                budget_ms: u32::try_from(until.saturating_sub(200)).unwrap_or(u32::MAX),
            })
        });
        if let Some(job) = job {
            Self::send(id, CtlDown::Fetch(Box::new(job)), Attach::None, out);
        }
    }

    /// The worker died before it read a byte: another one, a few times.
    pub(crate) fn fetch_lost(
        &mut self,
        now: Time,
        (id, key): (SandboxId, &RouteKey),
        sandbox: &Sandbox,
        (why, text): (&str, &str),
        out: &mut Vec<UaOut>,
    ) {
        let Some(deploy) = self.components.get_mut(key).and_then(|c| c.deploy.as_mut()) else {
            return;
        };
        deploy.fetch = None;
        // One that has done its work is not lost.
        if deploy.descriptor.is_some() && deploy.code.is_some() {
            return;
        }
        deploy.spawns = deploy.spawns.saturating_add(1);
        let described = deploy.descriptor.is_some();
        let may_help = why != INCOMPATIBLE && deploy.spawns <= SPAWN_TRIES && !described;
        // Another one may do better, but that one was in foreign hands is on record.
        if why == "protocol" {
            let (name, detail) = (key.to_string(), format!("the fetch worker: {text}"));
            self.event(now, Happened::new("exited", &name, &detail).sandbox(id).reason(why), out);
        }
        if may_help {
            return self.spawn_fetch(now, key, out);
        }
        let refusal =
            Refusal::new(Reason::SandboxUnavailable, format!("the fetch worker died: {text}"));
        let stage = match (described, sandbox.verified && sandbox.ready) {
            (true, _) => "source",
            (false, true) => "descriptor",
            (false, false) => "sandbox",
        };
        self.fail(now, key, refusal.at(stage), out);
    }

    /// Steps 4 and 5, then 6: constraints, grants, pins.
    pub(crate) fn fetched(
        &mut self,
        now: Time,
        id: SandboxId,
        origin: &str,
        descriptor: Descriptor,
        out: &mut Vec<UaOut>,
    ) {
        let Some(key) = self.deploying(id) else { return };
        let deploy = self.components.get(&key).and_then(|component| component.deploy.as_ref());
        if deploy.is_some_and(|deploy| deploy.descriptor.is_some()) {
            return self.condemn(id, "protocol", "two descriptors", out);
        }
        if !deploy.is_some_and(|deploy| deploy.may_be_from(origin)) {
            return self.condemn(id, "protocol", "a descriptor from where it was not sent", out);
        }
        if let Err(unbounded) = descriptor.check() {
            return self.condemn(id, "protocol", &unbounded.to_string(), out);
        }
        self.stage(now, &key, "descriptor", origin, out);
        if let Some(name) = descriptor.first_unoffered() {
            let text = format!("the stub needs {name}, which is not offered here");
            return self.fail(now, &key, Refusal::new(Reason::Constraint, text).at("policy"), out);
        }
        let grants = self.grants_for(&key, &descriptor.wanted);
        if let Some(text) = self.strays_from_pin(&key, &grants) {
            return self.fail(now, &key, Refusal::new(Reason::Policy, text).at("policy"), out);
        }
        self.tell_refused(now, id, &grants.refused, out);
        let list = grants.all().join(" ");
        let detail =
            if list.is_empty() { "no grants".to_owned() } else { format!("grants {list}") };
        self.stage(now, &key, "policy", &detail, out);
        if let Some(component) = self.components.get_mut(&key) {
            component.interworking = descriptor.interworking;
            if let Some(deploy) = component.deploy.as_mut() {
                deploy.descriptor = Some((descriptor, origin.to_owned()));
            }
        }
        Self::send(id, CtlDown::FetchSource, Attach::None, out);
    }

    /// The hosts that a descriptor does not get: not so many events that the record is washed away.
    fn tell_refused(&mut self, now: Time, id: SandboxId, hosts: &[String], out: &mut Vec<UaOut>) {
        let name = self.key_of(id).map_or(String::new(), |key| key.to_string());
        let more = hosts.len().saturating_sub(REFUSED_HOSTS_TOLD);
        let rest = format!("{more} more hosts, which `runtimectl inspect {name}` lists");
        let told = hosts.iter().take(REFUSED_HOSTS_TOLD).chain((more > 0).then_some(&rest));
        for detail in told {
            let what = Happened::new("refused", &name, detail).sandbox(id).reason("policy");
            self.event(now, what, out);
        }
    }

    /// Why an update waits for the operator: more rights, or whoever can make a catalogue fail
    /// would choose where the code comes from.
    fn strays_from_pin(&self, key: &RouteKey, grants: &Grants) -> Option<&'static str> {
        let component = self.components.get(key)?;
        let first = component.pin.as_ref()?;
        if component.deploy.as_ref()?.source.as_ref()?.own != first.own {
            return Some(
                "the stub comes from another catalogue than when it was first used; undeploy it to accept",
            );
        }
        let more = "the stub asks for more than when it was first used; undeploy it to accept";
        (!grants.are_within(&first.grants)).then_some(more)
    }

    /// Steps 7 and 8: the code is there, hashed.
    pub(crate) fn source(
        &mut self,
        now: Time,
        id: SandboxId,
        origin: &str,
        code: Option<(CodeHandle, Digest)>,
        out: &mut Vec<UaOut>,
    ) {
        let known = self.deploying(id).filter(|key| {
            self.components.get(key).and_then(|c| c.deploy.as_ref()).is_some_and(|d| {
                d.descriptor.is_some() && d.code.is_none() && d.may_be_from(origin)
            })
        });
        let (Some(key), Some((code, digest))) = (known, code) else {
            if let Some((code, _)) = code {
                out.push(UaOut::Effect(Effect::DropCode { code }));
            }
            return self.condemn(
                id,
                "protocol",
                "code that nobody asked for, or from elsewhere, or none",
                out,
            );
        };
        let pin = self.domain_settings(&key).pin;
        let deploy = self.components.get(&key).and_then(|c| c.deploy.as_ref());
        let Some((descriptor, _)) = deploy.and_then(|d| d.descriptor.clone()) else { return };
        let grants = self.grants_for(&key, &descriptor.wanted);
        let Some(component) = self.components.get_mut(&key) else { return };
        let own = component
            .deploy
            .as_ref()
            .and_then(|deploy| deploy.source.as_ref())
            .is_some_and(|source| source.own);
        let package = Package { code, digest, source: origin.to_owned(), own, descriptor, grants };
        let text = package.digest_text();
        if let Some(deploy) = component.deploy.as_mut() {
            deploy.code = Some((code, digest));
            deploy.source_deadline = None;
        }
        if pin && component.pin.as_ref().is_some_and(|first| first.digest != digest) {
            let text = format!("the code is not the pinned one: {text}");
            return self.fail(now, &key, Refusal::new(Reason::Integrity, text).at("source"), out);
        }
        component.package = Some(package);
        self.stage(now, &key, "source", &format!("{text} from {origin}"), out);
        let url = self.components.get(&key).map_or(String::new(), |c| c.url.to_string());
        self.stage(now, &key, "register", &url, out);
        self.assign_when_ready(now, &key, out);
    }

    pub(crate) fn fetch_failed(
        &mut self,
        now: Time,
        id: SandboxId,
        error: FetchError,
        text: &str,
        out: &mut Vec<UaOut>,
    ) {
        let Some(key) = self.deploying(id) else { return };
        let (reason, stage) = match error {
            FetchError::Down => (Reason::CatalogueDown, "descriptor"),
            FetchError::Slow => (Reason::CatalogueSlow, "descriptor"),
            FetchError::Absent => (Reason::CatalogueAbsent, "descriptor"),
            FetchError::Redirect => (Reason::RedirectRefused, "descriptor"),
            FetchError::Unusable => (Reason::DescriptorUnusable, "descriptor"),
            FetchError::Decoding => (Reason::Decoding, "source"),
            FetchError::CodeSize => (Reason::CodeSize, "source"),
        };
        let read = self
            .components
            .get(&key)
            .and_then(|c| c.deploy.as_ref())
            .is_some_and(|d| d.descriptor.is_some());
        let stage = if read { "source" } else { stage };
        self.source_failed(
            now,
            &key,
            Refusal::new(reason, crate::ua::bounded(text, 512)).at(stage),
            out,
        );
    }

    /// The next catalogue is asked if this one is absent, down or slow; never on bad content.
    pub(crate) fn source_failed(
        &mut self,
        now: Time,
        key: &RouteKey,
        refusal: Refusal,
        out: &mut Vec<UaOut>,
    ) {
        let Some(deploy) = self.components.get_mut(key).and_then(|c| c.deploy.as_mut()) else {
            return;
        };
        let may_go_on = matches!(
            refusal.reason,
            Reason::CatalogueDown | Reason::CatalogueSlow | Reason::CatalogueAbsent
        ) && deploy.descriptor.is_none();
        let first = deploy.first_error.get_or_insert_with(|| refusal.clone()).clone();
        let old = deploy.fetch.take();
        let more = may_go_on && !deploy.sources.is_empty();
        if let Some(old) = old {
            self.condemn(old, "deploy-failed", "", out);
        }
        if more {
            self.next_source(now, key, out);
        } else {
            self.fail(now, key, if may_go_on { first } else { refusal }, out);
        }
    }

    /// The key, if the sandbox is the fetch worker of a deploy under way.
    fn deploying(&self, id: SandboxId) -> Option<RouteKey> {
        let key = self.key_of(id)?;
        let deploy = self.components.get(&key)?.deploy.as_ref()?;
        (deploy.fetch == Some(id)).then_some(key)
    }
}
