//! What `serve` can be asked for.

use std::net::SocketAddr;

use clap::{Args, Subcommand};

/// What is served.
#[derive(Debug, Subcommand)]
pub enum Serve {
    /// The store by digest, and the archives of releases as they are pinned, for stock apt too
    #[command(after_help = "Examples:\n  perestroika serve store specs/demo\n  \
                            perestroika serve store specs/demo --listen 0.0.0.0:8117\n  \
                            perestroika build elsewhere/ --mirror bookworm=http://HOST:8117/archive/bookworm\n\n\
                            Of an archive it has the Release files as they were signed, the pinned \
                            indexes, and every\npackage that the store holds. The first page says \
                            how apt takes from it. What is pinned is\nread once, when it begins.\n\n\
                            Ctrl-C ends it, with exit code 0.")]
    Store(ServeStore),
}

#[derive(Debug, Args)]
pub struct ServeStore {
    /// Release folders (`.` or with a `/`) whose archives are served [default: the nearest, if
    /// there is one]
    #[arg(value_name = "RELEASE")]
    pub words: Vec<String>,
    /// Where to listen; port 0 is one that is free
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8117",
        value_parser = listen
    )]
    pub listen: SocketAddr,
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "expected an address and a port such as 127.0.0.1:8117, 0.0.0.0:80 or [::1]:0".to_owned()
    })
}
