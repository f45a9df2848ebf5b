//! The seeds `deploy-protostub` (22 steps) and `deploy-iwstub` (24 steps): each test quotes the
//! steps that it proves and walks them for a stub of either kind.

use super::fallback::{fetch_failed, home_catalogue};
use super::world::{Step, World, key, wanted};
use crate::effect::{Attach, Effect};
use crate::ua::{StubRoute, UaOut};
use protocol::control::Command;
use protocol::ctl::{CtlDown, CtlUp, FetchError, HostProfile, Role};

// A domain, and a legacy address; what asks for its stub, and the name of that.
const KINDS: &[(&str, &str)] =
    &[("example.com", "example.com"), ("sip://alice@ims.example.com", "sip.ims.example.com")];

// A message to this address.
fn asked(world: &mut World, target: &str) -> StubRoute {
    world.message(target)
}

// "The Protocol Stub deployment may be triggered … by some attempt from a local Hyperty to
// communicate with a remote Hyperty … The Runtime UA only downloads and deploys requested Protocol
// Stub after checking in the Registry that there is no Protocol Stub available."
#[test]
fn steps_1_to_3_a_stub_is_downloaded_only_if_the_registry_has_none() {
    for (target, name) in KINDS {
        let mut world = World::new();
        assert_eq!(world.route(target), StubRoute::Absent, "the registry knows none");
        assert!(world.jobs.is_empty() && world.alive.is_empty(), "looking it up starts nothing");
        asked(&mut world, target);
        assert_eq!(world.jobs.len(), 1, "{name}");
        let StubRoute::Ready { url, .. } = world.route(target) else { panic!("{name}") };
        // From another side, too: the operator asks for what is there.
        world.ask(Command::Deploy { target: (*target).to_owned(), wait: true, live: false });
        assert!(
            matches!(asked(&mut world, target), StubRoute::Ready { url: same, .. } if same == url)
        );
        assert_eq!((world.jobs.len(), world.assigns.len()), (1, 1), "nothing is fetched twice");
    }
}

// "The Runtime UA is able to derive the URL to download the Protocol Stub descriptor from the
// domain URL, since it is a well known URI."
#[test]
fn steps_4_to_5_the_descriptors_place_is_derived_from_the_domain() {
    for (target, names) in [
        (KINDS[0].0, vec!["default"]),
        (KINDS[1].0, vec!["sip.ims.example.com", "sip.example.com", "default"]),
    ] {
        let mut world = World::new();
        asked(&mut world, target);
        let domain = key(target).domain().to_owned();
        let job = world.jobs.first().expect("a job");
        assert_eq!(job.base, format!("https://catalogue.{domain}/.well-known"));
        assert_eq!(job.alternatives, [format!("https://{domain}/.well-known")]);
        assert_eq!(job.names, names);
    }
}

// "This role may not be played by the Legacy Domain itself by a Third organization which provide
// interoperability between reTHINK and the legacy service."
#[test]
fn steps_4_to_5_a_third_organisation_may_provide_the_interworking_stub() {
    let mut world = World::with(&home_catalogue());
    world.fetch_answers.push_back(fetch_failed(FetchError::Absent));
    asked(&mut world, KINDS[1].0);
    let names: Vec<_> = world.jobs.iter().map(|job| job.names.clone()).collect();
    assert_eq!(names.len(), 2, "the legacy domain, then ours: {names:?}");
    assert!(names[1].contains(&"sip.ims.example.com".to_owned()), "{names:?}");
    assert!(matches!(world.route(KINDS[1].0), StubRoute::Ready { .. }));
    assert_eq!(world.ps(KINDS[1].1).kind, "interworking");
}

// "The Runtime UA extracts protostubDownloadURL from the protostub descriptor and downloads the
// protostub source code."
#[test]
fn steps_6_to_7_the_code_is_downloaded_after_its_descriptor() {
    for (target, name) in KINDS {
        let mut world = World::new().holding(&[Step::Source]);
        asked(&mut world, target);
        let fetch = world.of(Role::Fetch)[0];
        let said = world.said_to(fetch);
        let place = |wanted: fn(&CtlDown) -> bool| said.iter().position(|down| wanted(down));
        let descriptor = place(|down| matches!(down, CtlDown::Fetch(_)));
        let source = place(|down| matches!(down, CtlDown::FetchSource));
        assert!(descriptor.is_some() && descriptor < source, "{name}: {said:?}");
        assert!(world.assigns.is_empty(), "{name}: nothing runs yet");
        let code = world.code_of(fetch);
        world.input(code);
        let digest = world.inspect(name).row.digest;
        assert!(digest.is_some_and(|digest| digest.starts_with("sha256:")), "{name}");
    }
}

// "The new Protocol Stub is registered in the Runtime Registry, which allocates and returns the
// runtime address … ensuring the URL is unique in the Runtime namespace."
#[test]
fn steps_8_to_11_the_registry_allocates_an_address_that_nobody_else_has() {
    let mut world = World::new();
    let mut urls = Vec::new();
    for target in
        ["example.com", "example.org", "sip://a@ims.example.com", "xmpp://a@ims.example.com"]
    {
        asked(&mut world, target);
        let StubRoute::Ready { url, .. } = world.route(target) else { panic!("{target}") };
        let domain = key(target).domain().to_owned();
        let start = format!("hyperty-runtime://{domain}/protostub/");
        assert!(url.as_str().starts_with(&start), "{url}");
        let told = &world.assigns.last().expect("assigned").1.component;
        assert_eq!(*told, url.to_string(), "the stub is told its address");
        assert!(!urls.contains(&url), "{url} is given twice");
        urls.push(url);
    }
}

// "In addition, the runtime Registry requests the runtime BUS to add its listener to receive
// events about the Protocol Stub status": it hears the first word, however early it is said.
#[test]
fn step_10_the_registry_listens_to_the_status_before_the_stub_runs() {
    for (target, name) in KINDS {
        let mut world = World::new().holding(&[Step::Load]);
        asked(&mut world, target);
        let url = world.ua.components[&key(target)].url.clone();
        let mut out = Vec::new();
        let (now, to) = (world.time(), url.child("status").unwrap());
        let body = br#"{"value":"created"}"#;
        assert!(world.ua.status_message(now, &url, &to, body, &mut out), "{name}");
        assert_eq!(world.ps(name).status, "created");
    }
}

// "The Runtime UA instantiates a new sandbox through the Sandbox interface which is registered in
// the Registry. The `capabilities` input parameter is used to indicate capabilities required eg
// window capabilities."
#[test]
fn steps_12_to_15_each_stub_has_a_sandbox_of_its_own_that_is_registered() {
    for (target, name) in KINDS {
        for (constraint, profile) in
            [("windowsandbox", HostProfile::Window), ("browser", HostProfile::Worker)]
        {
            let mut world = World::new();
            world.descriptor.constraints = vec![constraint.to_owned()];
            asked(&mut world, target);
            asked(&mut world, "other.example");
            assert_eq!(world.of(Role::Stub).len(), 2, "one each");
            let (id, assign, _) = world.assigns.first().expect("assigned").clone();
            assert_eq!(assign.profile, profile, "{name}");
            let StubRoute::Ready { link, .. } = world.route(target) else { panic!("{name}") };
            let bridge = world.ua.bridge_of(link).expect("a bridge");
            assert_eq!(bridge.sandbox, world.ua.sandbox_address(id), "registered before the stub");
        }
    }
}

// "The Runtime UA requests the new sandbox to instantiate the protostub source code, extracting
// the configuration data from the protostub descriptor."
#[test]
fn steps_16_to_18_the_code_is_instantiated_with_its_configuration() {
    for (target, name) in KINDS {
        let mut world = World::new().holding(&[Step::Load]);
        asked(&mut world, target);
        let (id, assign, attach) = world.assigns.first().expect("assigned").clone();
        assert!(matches!(attach, Attach::Code(_)), "{name}");
        let config: serde_json::Value = serde_json::from_str(&assign.config).unwrap();
        assert_eq!(config["url"], "wss://node.example.com/ws");
        assert_eq!(config["runtimeURL"], assign.runtime_url);
        world.up(id, CtlUp::Loaded);
        assert_eq!(world.route(target), StubRoute::Deploying, "{name} is not created yet");
        world.up(id, CtlUp::Activated { name: "stub".to_owned() });
        assert!(matches!(world.route(target), StubRoute::Ready { .. }), "{name}");
    }
}

// "These steps are exclusive of the IWstub … an interconnection with a SIP network is proposed …
// Protocols over HTTP or Protocols over Websocket (e.g. SIPoWS or XMPPoWS)."
#[test]
fn iwstub_steps_19_to_20_the_stub_connects_to_the_legacy_network() {
    for (target, host) in [
        ("sip://alice@ims.example.com", "sip.ims.example.com"),
        ("xmpp://alice@chat.example.com", "ws.chat.example.com"),
    ] {
        let mut world = World::new();
        world.descriptor.interworking = true;
        world.descriptor.configuration = format!(r#"{{"server":"wss://{host}:7443/ws"}}"#);
        world.descriptor.wanted = vec![wanted(host, 7443, true)];
        asked(&mut world, target);
        let stub = world.stub();
        world.connect(stub, 1, host, 7443);
        let given = world.outs.iter().any(|out| {
            matches!(out, UaOut::Effect(Effect::Ctl { sandbox, attach: Attach::Stream(_), .. })
                if *sandbox == stub)
        });
        assert!(given, "{target} has its connection");
    }
}

// "A listener is added to the Msg BUS in order to be able to send messages to the stub … The
// RuntimeUA notifies the Application that the stub has been correctly deployed."
#[test]
fn steps_19_to_20_and_iwstub_21_to_22_the_bus_leads_to_it_and_who_asked_is_told() {
    for (target, name) in KINDS {
        let mut world = World::new().holding(&[Step::Activate]);
        let command = Command::Deploy { target: (*target).to_owned(), wait: true, live: false };
        let token = world.ask_later(command);
        assert!(world.replies(token).is_empty(), "{name}: nobody is told too early");
        assert_eq!(world.route(target), StubRoute::Deploying);
        let id = world.stub();
        world.up(id, CtlUp::Activated { name: "stub".to_owned() });
        let listener = world.outs.iter().position(|out| matches!(out, UaOut::Active { .. }));
        let told = world.outs.iter().position(
            |out| matches!(out, UaOut::Effect(Effect::Reply { token: t, .. }) if *t == token),
        );
        assert!(listener.is_some() && listener < told, "{name}: the listener is first");
    }
}

// "Protocol Stub publishes its status … Components registered on the Protocol Stub status
// resources, like the Registry, are notified": `"body" : { "value" : "LIVE" }`.
#[test]
fn steps_21_to_22_and_iwstub_23_to_24_a_status_is_recorded_and_published() {
    for (target, name) in KINDS {
        let mut world = World::new();
        asked(&mut world, target);
        let StubRoute::Ready { url, .. } = world.route(target) else { panic!("{name}") };
        let (mut out, now) = (Vec::new(), world.time());
        let status = url.child("status").unwrap();
        assert!(world.ua.status_message(now, &url, &status, br#"{ "value" : "LIVE" }"#, &mut out));
        assert_eq!(world.ps(name).status, "live");
        let told: Vec<(String, String, serde_json::Value)> = out
            .iter()
            .filter_map(|out| match out {
                UaOut::Publish { resource, from, body } => Some((
                    resource.to_string(),
                    from.to_string(),
                    serde_json::from_str(body).unwrap(),
                )),
                _ => None,
            })
            .collect();
        let body = serde_json::json!({"value": "live", "resource": url.as_str()});
        let runtime = world.ua.runtime.to_string();
        assert_eq!(
            told,
            [
                (status.to_string(), url.to_string(), body.clone()),
                (format!("{runtime}/status"), runtime, body),
            ],
            "{name}"
        );
    }
}
