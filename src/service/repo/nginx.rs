//! A repository in nginx's words.

use std::net::SocketAddr;

use crate::publish::Repository;

/// The repository's path cannot be written in nginx's configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nginx takes no path with `{found}`: `{path}`")]
pub struct Unquotable {
    /// The character.
    pub found: char,
    /// The path.
    pub path: String,
}

/// A `server` block for nginx 1.18 or later that answers as [`super::Depot`] does, but for pages:
/// what is public, `dists` by asking again, what is named by its digest for ever. It listens on
/// `listen`, by default on port 80.
///
/// # Errors
/// [`Unquotable`] if the repository's path has a character that nginx takes for its own, or is not
/// UTF-8.
pub fn nginx(repository: &Repository, listen: Option<SocketAddr>) -> Result<String, Unquotable> {
    let path = repository.root().as_path().to_string_lossy().into_owned();
    // In quotes only these are not as they are written (ngx_conf_read_token, variables).
    let strange = |letter: &char| {
        matches!(*letter, '"' | '\\' | '$' | char::REPLACEMENT_CHARACTER) || letter.is_control()
    };
    if let Some(found) = path.chars().find(strange) {
        return Err(Unquotable { found, path });
    }
    let listen = match listen {
        Some(address) => format!("    listen {address};\n"),
        None => "    listen 80;\n    listen [::]:80;\n".to_owned(),
    };
    Ok(format!(
        r#"# A package repository: put this into /etc/nginx/conf.d/ or sites-enabled/.
server {{
{listen}    server_name _;
    root "{path}";

    # `dists` and `by-hash` are links, and `dists` moves: links are followed, and looked up anew.
    disable_symlinks off;
    open_file_cache off;
    autoindex off;
    sendfile on;
    tcp_nopush on;
    # Packages and indexes are compressed already.
    gzip off;
    # A client that names another date than that of the file is sent the file.
    if_modified_since exact;
    default_type application/octet-stream;
    types {{
        application/vnd.debian.binary-package deb udeb;
        application/json json;
        text/plain asc dsc changes buildinfo sources;
    }}

    # Everything but what is named below is nobody's business: `.perestroika` among it.
    location / {{
        return 404;
    }}
    location ~ /\. {{
        return 404;
    }}
    # What is named by its digest never changes.
    location ~ ^/(dists/.+/|generations/[0-9]+/dists/.+/)?by-hash/SHA256/[0-9a-f]+$ {{
        add_header Cache-Control "public, max-age=31536000, immutable";
    }}
    # What clients read now: never used without asking.
    location ~ ^/dists/ {{
        add_header Cache-Control "no-cache";
    }}
    location ~ ^/(generations|pool|keys)/ {{
    }}
}}
"#
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::HostPath;

    #[test]
    fn a_path_that_nginx_would_read_otherwise_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let of = |name: &str| {
            let root = HostPath::new(folder.path().join(name));
            nginx(&Repository::open_or_create(root).expect("made"), None)
        };
        assert!(of("with space; and {}").is_ok_and(|text| text.contains("with space; and {}\";")));
        for (name, found) in [("a$b", '$'), ("a\"b", '"'), ("a\\b", '\\'), ("a\nb", '\n')] {
            assert_eq!(of(name).map_err(|error| error.found), Err(found));
        }
    }
}
