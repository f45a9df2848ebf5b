//! The control messages are the bytes that any other implementation of bincode writes, too: a
//! second decoder, over types of its own, reads each of them and writes the same bytes again.
//!
//! The types below mirror `protocol::ctl` variant by variant, so that a variant or a field that is
//! moved instead of appended is noticed here.

use proptest::prelude::*;
use protocol::ctl;
use protocol::descriptor::{Descriptor, WantedHost};
use wincode::config::{Configuration, DefaultConfig};

mod mirror {
    //! What the wire is meant to hold.
    use wincode::{SchemaRead, SchemaWrite};

    macro_rules! words {
        ($($name:ident { $($variant:ident),+ })+) => {$(
            #[derive(Debug, SchemaRead, SchemaWrite)]
            pub(super) enum $name { $($variant),+ }
        )+};
    }

    words! {
        Role { Spawner, Net, Fetch, Stub }
        Level { None, Filtered, Namespaces, Full }
        ConnectError {
            NotGranted, AddressDenied, NotResolved, Unreachable, TimedOut, NotFound, Exhausted
        }
        HostProfile { Worker, Window }
        EngineKind { Js, Echo }
        FetchError { Down, Slow, Absent, Redirect, Unusable, Decoding, CodeSize }
    }

    #[derive(Debug, SchemaRead, SchemaWrite)]
    pub(super) struct SpawnRequest {
        pub(super) sandbox: u32,
        pub(super) role: Role,
        pub(super) uid: Option<u32>,
        pub(super) open_files: u32,
        pub(super) processes: u32,
        pub(super) cgroup: bool,
        pub(super) listen: Option<String>,
    }

    #[derive(Debug, SchemaRead, SchemaWrite)]
    pub(super) enum SpawnReply {
        Spawned { sandbox: u32, pid: i32, namespaces: bool },
        Failed { sandbox: u32, text: String },
    }

    #[derive(Debug, SchemaRead, SchemaWrite)]
    pub(super) struct ConfinedReport {
        pub(super) level: Level,
        pub(super) layers: Vec<String>,
        pub(super) missing: Vec<String>,
        pub(super) proof: ProofReport,
    }

    #[derive(Debug, SchemaRead, SchemaWrite)]
    pub(super) struct ProofReport {
        pub(super) probes: u32,
        pub(super) denied: u32,
        pub(super) took_us: u32,
        pub(super) failures: Vec<String>,
    }

    #[derive(Debug, SchemaRead, SchemaWrite)]
    pub(super) enum Target {
        Tcp { host: String, port: u16 },
        File { path: String },
    }

    #[derive(Debug, SchemaRead, SchemaWrite)]
    pub(super) struct Assign {
        pub(super) component: String,
        pub(super) runtime_url: String,
        pub(super) config: String,
        pub(super) profile: HostProfile,
        pub(super) engine: EngineKind,
        pub(super) ca_pem: String,
        pub(super) memory_bytes: u64,
        pub(super) turn_ms: u32,
        pub(super) grants: Vec<String>,
    }

    #[derive(Debug, SchemaRead, SchemaWrite)]
    pub(super) struct PeerIdentity {
        pub(super) certificate_pem: String,
        pub(super) key_pem: String,
        pub(super) listens: bool,
        pub(super) peers: Vec<(String, String)>,
    }

    #[derive(Debug, SchemaRead, SchemaWrite)]
    pub(super) enum Shelf {
        Protostub,
        IdpProxy,
        Hyperty,
    }

    #[derive(Debug, SchemaRead, SchemaWrite)]
    pub(super) struct FetchJob {
        pub(super) base: String,
        pub(super) alternatives: Vec<String>,
        pub(super) shelf: Shelf,
        pub(super) names: Vec<String>,
        pub(super) sources: Vec<String>,
        pub(super) ca_pem: String,
        pub(super) budget_ms: u32,
    }

    #[derive(Debug, SchemaRead, SchemaWrite)]
    pub(super) struct WantedHost {
        pub(super) host: String,
        pub(super) port: u16,
        pub(super) secure: bool,
    }

    #[derive(Debug, SchemaRead, SchemaWrite)]
    pub(super) struct Descriptor {
        pub(super) name: String,
        pub(super) version: String,
        pub(super) interworking: bool,
        pub(super) constraints: Vec<String>,
        pub(super) configuration: String,
        pub(super) wanted: Vec<WantedHost>,
        pub(super) signed: bool,
        pub(super) resources: Vec<String>,
        pub(super) data_objects: Vec<String>,
    }

    #[derive(Debug, SchemaRead, SchemaWrite)]
    pub(super) enum CtlUp {
        Confined(ConfinedReport),
        Loaded,
        Activated { name: String },
        DeployFailed { stage: String, text: String },
        Removed,
        Connect { req: u32, target: Target },
        Closed { req: u32 },
        Log { level: u8, text: String },
        Fetched { origin: String, descriptor: Box<Descriptor> },
        Source { origin: String, size: u64 },
        FetchFailed { error: FetchError, text: String },
        NetResult { req: u64, error: Option<(ConnectError, String)> },
        Incoming { from: String },
        Listening { error: Option<String>, turned_away: u64 },
        Peer { conn: u32, domain: String },
        Left { conn: u32, refused: Option<String> },
    }

    #[derive(Debug, SchemaRead, SchemaWrite)]
    pub(super) enum CtlDown {
        Assign(Box<Assign>),
        Remove {
            grace_ms: u32,
        },
        Connected {
            req: u32,
        },
        ConnectRefused {
            req: u32,
            error: ConnectError,
            text: String,
        },
        Fetch(Box<FetchJob>),
        FetchSource,
        NetConnect {
            req: u64,
            sandbox: u32,
            host: String,
            port: u16,
            private: bool,
            budget_ms: u32,
        },
        NetForget {
            sandbox: u32,
        },
        NetListen {
            sandbox: u32,
        },
        Identity(Box<PeerIdentity>),
        Incoming {
            conn: u32,
            from: String,
        },
    }
}

/// What `bincode::config::standard()` is: little-endian, variable-length integers and tags.
fn standard() -> impl wincode::config::Config + Copy {
    const DEFAULT: DefaultConfig = Configuration::default();
    DEFAULT.with_varint_encoding()
}

/// Reads `bytes` as a `T` by the second implementation, and writes it again.
macro_rules! same {
    ($mirror:ty, $bytes:expr) => {{
        let bytes: Vec<u8> = $bytes;
        let value: $mirror = wincode::config::deserialize_exact(&bytes, standard()).unwrap();
        assert_eq!(wincode::config::serialize(&value, standard()).unwrap(), bytes, "{value:?}");
    }};
}

fn text() -> impl Strategy<Value = String> {
    "[ -~\u{e4}\u{1F600}]{0,300}"
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(text(), 0..4)
}

fn connect_error() -> impl Strategy<Value = ctl::ConnectError> {
    prop_oneof![
        Just(ctl::ConnectError::NotGranted),
        Just(ctl::ConnectError::AddressDenied),
        Just(ctl::ConnectError::NotResolved),
        Just(ctl::ConnectError::Unreachable),
        Just(ctl::ConnectError::TimedOut),
        Just(ctl::ConnectError::NotFound),
        Just(ctl::ConnectError::Exhausted),
    ]
}

fn descriptor() -> impl Strategy<Value = Box<Descriptor>> {
    let wanted = (text(), any::<u16>(), any::<bool>())
        .prop_map(|(host, port, secure)| WantedHost { host, port, secure });
    let wanted = proptest::collection::vec(wanted, 0..4);
    let lists = (texts(), texts());
    (text(), text(), any::<bool>(), texts(), text(), wanted, any::<bool>(), lists).prop_map(
        |(name, version, interworking, constraints, configuration, wanted, signed, lists)| {
            Box::new(Descriptor {
                name,
                version,
                interworking,
                constraints,
                configuration,
                wanted,
                signed,
                resources: lists.0,
                data_objects: lists.1,
            })
        },
    )
}

fn up() -> impl Strategy<Value = ctl::CtlUp> {
    let level = prop_oneof![
        Just(ctl::Level::None),
        Just(ctl::Level::Filtered),
        Just(ctl::Level::Namespaces),
        Just(ctl::Level::Full)
    ];
    let target = prop_oneof![
        (text(), any::<u16>()).prop_map(|(host, port)| ctl::Target::Tcp { host, port }),
        text().prop_map(|path| ctl::Target::File { path }),
    ];
    let fetch_error = prop_oneof![
        Just(ctl::FetchError::Down),
        Just(ctl::FetchError::Slow),
        Just(ctl::FetchError::Absent),
        Just(ctl::FetchError::Redirect),
        Just(ctl::FetchError::Unusable),
        Just(ctl::FetchError::Decoding),
        Just(ctl::FetchError::CodeSize),
    ];
    let proof = (any::<[u32; 3]>(), texts()).prop_map(|([probes, denied, took_us], failures)| {
        ctl::ProofReport { probes, denied, took_us, failures }
    });
    let report = (level, texts(), texts(), proof).prop_map(|(level, layers, missing, proof)| {
        ctl::ConfinedReport { level, layers, missing, proof }
    });
    prop_oneof![
        report.prop_map(ctl::CtlUp::Confined),
        Just(ctl::CtlUp::Loaded),
        text().prop_map(|name| ctl::CtlUp::Activated { name }),
        (text(), text()).prop_map(|(stage, text)| ctl::CtlUp::DeployFailed { stage, text }),
        Just(ctl::CtlUp::Removed),
        (any::<u32>(), target).prop_map(|(req, target)| ctl::CtlUp::Connect { req, target }),
        any::<u32>().prop_map(|req| ctl::CtlUp::Closed { req }),
        (any::<u8>(), text()).prop_map(|(level, text)| ctl::CtlUp::Log { level, text }),
        (text(), descriptor())
            .prop_map(|(origin, descriptor)| ctl::CtlUp::Fetched { origin, descriptor }),
        (text(), any::<u64>()).prop_map(|(origin, size)| ctl::CtlUp::Source { origin, size }),
        (fetch_error, text()).prop_map(|(error, text)| ctl::CtlUp::FetchFailed { error, text }),
        (any::<u64>(), proptest::option::of((connect_error(), text())))
            .prop_map(|(req, error)| ctl::CtlUp::NetResult { req, error }),
        text().prop_map(|from| ctl::CtlUp::Incoming { from }),
        (proptest::option::of(text()), any::<u64>())
            .prop_map(|(error, turned_away)| ctl::CtlUp::Listening { error, turned_away }),
        (any::<u32>(), text()).prop_map(|(conn, domain)| ctl::CtlUp::Peer { conn, domain }),
        (any::<u32>(), proptest::option::of(text()))
            .prop_map(|(conn, refused)| ctl::CtlUp::Left { conn, refused }),
    ]
}

fn assign() -> impl Strategy<Value = ctl::CtlDown> {
    let kinds = prop_oneof![
        Just((ctl::HostProfile::Worker, ctl::EngineKind::Js)),
        Just((ctl::HostProfile::Window, ctl::EngineKind::Echo)),
    ];
    ([text(), text(), text(), text()], kinds, any::<u64>(), any::<u32>(), texts()).prop_map(
        |(
            [component, runtime_url, config, ca_pem],
            (profile, engine),
            memory_bytes,
            turn_ms,
            grants,
        )| {
            ctl::CtlDown::Assign(Box::new(ctl::Assign {
                component,
                runtime_url,
                config,
                profile,
                engine,
                ca_pem,
                memory_bytes,
                turn_ms,
                grants,
            }))
        },
    )
}

fn identity() -> impl Strategy<Value = ctl::CtlDown> {
    let peers = proptest::collection::vec((text(), text()), 0..3);
    (text(), text(), any::<bool>(), peers).prop_map(|(certificate_pem, key_pem, listens, peers)| {
        let identity = ctl::PeerIdentity { certificate_pem, key_pem, listens, peers };
        ctl::CtlDown::Identity(Box::new(identity))
    })
}

fn down() -> impl Strategy<Value = ctl::CtlDown> {
    let shelf = prop_oneof![
        Just(ctl::Shelf::Protostub),
        Just(ctl::Shelf::IdpProxy),
        Just(ctl::Shelf::Hyperty)
    ];
    let job = (text(), texts(), shelf, texts(), texts(), text(), any::<u32>()).prop_map(
        |(base, alternatives, shelf, names, sources, ca_pem, budget_ms)| {
            Box::new(ctl::FetchJob { base, alternatives, shelf, names, sources, ca_pem, budget_ms })
        },
    );
    let connect = (any::<u64>(), any::<u32>(), text(), any::<u16>(), any::<bool>(), any::<u32>())
        .prop_map(|(req, sandbox, host, port, private, budget_ms)| ctl::CtlDown::NetConnect {
            req,
            sandbox,
            host,
            port,
            private,
            budget_ms,
        });
    prop_oneof![
        assign(),
        any::<u32>().prop_map(|grace_ms| ctl::CtlDown::Remove { grace_ms }),
        any::<u32>().prop_map(|req| ctl::CtlDown::Connected { req }),
        (any::<u32>(), connect_error(), text())
            .prop_map(|(req, error, text)| ctl::CtlDown::ConnectRefused { req, error, text }),
        job.prop_map(ctl::CtlDown::Fetch),
        Just(ctl::CtlDown::FetchSource),
        connect,
        any::<u32>().prop_map(|sandbox| ctl::CtlDown::NetForget { sandbox }),
        any::<u32>().prop_map(|sandbox| ctl::CtlDown::NetListen { sandbox }),
        identity(),
        (any::<u32>(), text()).prop_map(|(conn, from)| ctl::CtlDown::Incoming { conn, from }),
    ]
}

proptest! {
    #[test]
    fn what_workers_say_is_the_same_bytes_in_both(up in up()) {
        same!(mirror::CtlUp, up.encode().unwrap());
    }

    #[test]
    fn what_the_daemon_says_is_the_same_bytes_in_both(down in down()) {
        same!(mirror::CtlDown, down.encode().unwrap());
    }

    #[test]
    fn what_the_spawner_hears_and_says_is_the_same_bytes_in_both(
        sandbox in any::<u32>(), uid in any::<Option<u32>>(), pid in any::<i32>(),
        (open_files, processes) in any::<(u32, u32)>(), (namespaces, cgroup) in any::<(bool, bool)>(),
        text in text(), listen in proptest::option::of(text()),
    ) {
        for role in [ctl::Role::Spawner, ctl::Role::Net, ctl::Role::Fetch, ctl::Role::Stub] {
            let request =
                ctl::SpawnRequest { sandbox, role, uid, open_files, processes, cgroup, listen: listen.clone() };
            same!(mirror::SpawnRequest, request.encode().unwrap());
        }
        let spawned = ctl::SpawnReply::Spawned { sandbox, pid, namespaces };
        same!(mirror::SpawnReply, spawned.encode().unwrap());
        same!(mirror::SpawnReply, ctl::SpawnReply::Failed { sandbox, text }.encode().unwrap());
    }
}
