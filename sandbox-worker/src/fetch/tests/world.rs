//! A daemon's end of the link, and every host that it can reach.

use crate::fetch::serve;
use crate::port::Port;
use crate::port::tests::DaemonEnd;
use protocol::ctl::{ConnectError, CtlDown, CtlUp, FetchJob, Shelf, Target};
use protocol::sys;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio_rustls::TlsAcceptor;

/// What a host does with a request.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    Raw(Vec<u8>),
    /// These bytes, then `x` without end.
    Endless(Vec<u8>),
    Stall,
}

impl Reply {
    pub(super) fn status(line: &str) -> Self {
        Self::Raw(format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n").into_bytes())
    }

    pub(super) fn redirect(to: &str) -> Self {
        Self::Raw(format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\n\r\n").into_bytes())
    }
}

/// An ordinary answer.
pub(super) fn ok(body: &str) -> Reply {
    Reply::Raw(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into())
}

pub(super) fn job(base: &str) -> FetchJob {
    FetchJob {
        base: base.into(),
        alternatives: Vec::new(),
        shelf: Shelf::Protostub,
        names: vec!["default".into()],
        sources: Vec::new(),
        ca_pem: String::new(),
        budget_ms: 20_000,
    }
}

type Host = Arc<dyn Fn(&str, &str) -> Reply + Send + Sync>;

pub(super) struct World {
    files: HashMap<String, Vec<u8>>,
    host: Host,
    tls: Option<TlsAcceptor>,
    refused: Vec<(String, ConnectError)>,
}

impl World {
    pub(super) fn web(host: impl Fn(&str, &str) -> Reply + Send + Sync + 'static) -> Self {
        Self { files: HashMap::new(), host: Arc::new(host), tls: None, refused: Vec::new() }
    }

    pub(super) fn secure(host: impl Fn(&str, &str) -> Reply + Send + Sync + 'static) -> Self {
        Self::vouched_for_by(include_str!("leaf.pem"), host)
    }

    /// With this certificate.
    pub(super) fn vouched_for_by(
        leaf: &str,
        host: impl Fn(&str, &str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let chain = vec![CertificateDer::from_pem_slice(leaf.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self { tls: Some(TlsAcceptor::from(Arc::new(config))), ..Self::web(host) }
    }

    pub(super) fn files(files: &[(&str, &[u8])]) -> Self {
        let files =
            files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect();
        Self { files, ..Self::web(|_, _| panic!("no web here")) }
    }

    /// Nobody gets a stream to `host`.
    pub(super) fn refuse(mut self, host: &str, error: ConnectError) -> Self {
        self.refused.push((host.into(), error));
        self
    }

    /// Runs one job; everything but `Connect` and `Closed` that was said, and the code.
    pub(super) async fn run(self, job: FetchJob) -> (Vec<CtlUp>, Option<Vec<u8>>) {
        let (mut daemon, socket) = DaemonEnd::new();
        let worker = tokio::spawn(async move { serve(&mut Port::new(socket).unwrap()).await });
        daemon.send(&CtlDown::Fetch(Box::new(job)));
        let (mut said, mut code) = (Vec::new(), None);
        let mut open = std::collections::HashSet::new();
        loop {
            let (up, fds) = daemon.ctl().await;
            match up {
                CtlUp::Connect { req, target } => match self.reach(target) {
                    Ok(fd) => {
                        open.insert(req);
                        daemon.send_with(&CtlDown::Connected { req }, vec![fd]);
                    }
                    Err(error) => {
                        let text = "no".to_owned();
                        daemon.send(&CtlDown::ConnectRefused { req, error, text });
                    }
                },
                CtlUp::Closed { req } => assert!(open.remove(&req), "closed twice"),
                CtlUp::Fetched { .. } => {
                    said.push(up);
                    daemon.send(&CtlDown::FetchSource);
                }
                CtlUp::Source { .. } => {
                    code = Some(sys::read_sealed(&fds[0], usize::MAX).unwrap());
                    said.push(up);
                    break;
                }
                CtlUp::FetchFailed { .. } => {
                    said.push(up);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(open.len() <= 1, "{open:?} were not closed");
        worker.await.unwrap().unwrap();
        (said, code)
    }

    fn reach(&self, target: Target) -> Result<OwnedFd, ConnectError> {
        let (host, port) = match target {
            Target::Tcp { host, port } => (host, port),
            Target::File { path } => {
                let bytes = self.files.get(&path).ok_or(ConnectError::NotFound)?;
                return Ok(sys::sealed_memfd("file", bytes)
                    .inspect(|fd| {
                        nix::unistd::lseek(fd, 0, nix::unistd::Whence::SeekSet).unwrap();
                    })
                    .unwrap());
            }
        };
        let name = format!("{host}:{port}");
        if let Some((_, error)) = self.refused.iter().find(|(refused, _)| *refused == name) {
            return Err(*error);
        }
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let far = UnixStream::from_std(far).unwrap();
        let (answer, tls) = (Arc::clone(&self.host), self.tls.clone());
        tokio::spawn(async move {
            match tls {
                // A client that does not trust this certificate hangs up.
                Some(tls) => match tls.accept(far).await {
                    Ok(stream) => serve_one(stream, &name, &answer).await,
                    Err(_untrusted) => {}
                },
                None => serve_one(far, &name, &answer).await,
            }
        });
        Ok(near.into())
    }
}

async fn serve_one(mut stream: impl AsyncRead + AsyncWrite + Unpin, name: &str, host: &Host) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_gone) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut words = head.split(' ');
    assert_eq!(words.next(), Some("GET"));
    let bare = name.strip_suffix(":80").or(name.strip_suffix(":443")).unwrap_or(name);
    assert!(head.to_lowercase().contains(&format!("host: {bare}\r\n")), "{head}");
    match host(name, words.next().unwrap()) {
        Reply::Raw(bytes) => {
            // The worker may refuse before it has read everything.
            drop(stream.write_all(&bytes).await);
            drop(stream.shutdown().await);
        }
        Reply::Endless(start) => {
            drop(stream.write_all(&start).await);
            while stream.write_all(&[b'x'; 8_192]).await.is_ok() {}
        }
        Reply::Stall => drop(stream.read_to_end(&mut Vec::new()).await),
    }
}
