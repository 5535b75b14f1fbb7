//! What `serve` can be asked for.

use std::net::SocketAddr;
use std::path::PathBuf;

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
    /// A repository that was published, for apt, with pages to browse it
    #[command(after_help = "Examples:\n  perestroika serve repo\n  \
                            perestroika serve repo specs/demo --listen 0.0.0.0:8118\n  \
                            perestroika serve repo --nginx > /etc/nginx/conf.d/packages.conf\n\n\
                            The first page says how apt uses it. Pages tell of each package which \
                            generation brought\nit, and what it was built from as far as the \
                            store of this machine knows.\n\n\
                            A larger site is served by nginx from the same folder: `--nginx` \
                            prints what it needs.\n\n\
                            Ctrl-C ends it, with exit code 0.")]
    Repo(ServeRepo),
}

#[derive(Debug, Args)]
pub struct ServeRepo {
    /// A repository's folder, or a release's, whose repository is its folder `repo` [default: the
    /// nearest release's]
    #[arg(env = "PERESTROIKA_REPO", value_name = "DIR|RELEASE")]
    pub folder: Option<PathBuf>,
    /// Where to listen; port 0 is one that is free [default: 127.0.0.1:8118; of nginx port 80]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = listen)]
    pub listen: Option<SocketAddr>,
    /// Print the configuration of nginx for this repository, and serve nothing
    #[arg(long)]
    pub nginx: bool,
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
