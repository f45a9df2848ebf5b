//! A domain on loopback: its catalogue over HTTP and its message node, on a thread of their own.

use peers::catalogue::{Catalogue, Options as CatalogueOptions, Response};
use peers::descriptor::Stub;
use peers::node::{Node, Options as NodeOptions};
use std::future::Future;

/// The stub of this repository, as a catalogue serves it.
pub const MESSAGE_NODE_STUB: &str = include_str!("../../stubs/message-node/message-node.ps.js");

/// A catalogue and a node, and the event loop that they live on.
#[derive(Debug)]
pub struct Domain {
    /// `example.com` is spelt by the test.
    pub name: String,
    /// Where its stub is listed.
    pub catalogue: Catalogue,
    /// Whom its stub talks to.
    pub node: Node,
    runtime: tokio::runtime::Runtime,
}

impl Domain {
    /// Starts both; the catalogue lists the repository's stub for the node.
    pub fn start(name: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("an event loop");
        let (catalogue, node) = runtime.block_on(async {
            let catalogue =
                Catalogue::start(CatalogueOptions::default()).await.expect("a catalogue");
            let node = Node::start(name, NodeOptions::default()).await.expect("a node");
            let stub = Stub::connecting_to(&node.url(), MESSAGE_NODE_STUB);
            catalogue.set_stub("default", &stub.inline_base64()).await.expect("an entry");
            (catalogue, node)
        });
        Self { name: name.to_owned(), catalogue, node, runtime }
    }

    /// What `runtimed.toml` says of it.
    pub fn config(&self) -> String {
        format!(
            "[domain.\"{}\"]\ncatalogue = \"{}\"\nprivate = true\nconnect = [\"{}\"]\n",
            self.name,
            self.catalogue.url(),
            self.node.authority()
        )
    }

    /// Stops the node, with all that it knows. What brings one back at its place.
    pub fn lose_node(&mut self) -> NodeOptions {
        let other = self.run(Node::start(&self.name, NodeOptions::default())).expect("a node");
        let lost = std::mem::replace(&mut self.node, other);
        let place = lost.options();
        self.run(lost.stop());
        place
    }

    /// Starts a node that knows nothing at the place of one that was lost.
    pub fn return_node(&mut self, place: NodeOptions) {
        self.node = self.run(Node::start(&self.name, place)).expect("the node");
    }

    /// How often the node was told of a resource or an address, as `subscribe` or `unsubscribe`.
    pub fn told(&self, kind: &str, resource: &str) -> usize {
        let all = self.run(self.node.received()).expect("the node");
        let of_kind = all.iter().filter(|message| message["type"] == kind);
        let lists = of_kind.filter_map(|message| message["body"]["resources"].as_array());
        lists.filter(|list| list.iter().any(|one| one == resource)).count()
    }

    /// Puts this at the place of the default stub.
    pub fn answer(&self, response: Response) {
        let path = Catalogue::stub_path("default");
        self.run(self.catalogue.set(&path, response)).expect("an entry");
    }

    /// Runs something on the domain's event loop.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}
