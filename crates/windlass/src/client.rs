//! Talking to a running server, for the commands that look at builds.

use reqwest::{Method, Response, StatusCode};
use windlass_model::{RepoName, Secret};

use crate::folders::Folders;
use crate::report::{EXIT_UNREACHABLE, Problem};

/// Where a server listens if nobody says otherwise.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// Which server, for commands that talk to one.
#[derive(Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// The server [default: the one that uses the data folder]
    #[arg(long, value_name = "URL", env = "WINDLASS_SERVER")]
    server: Option<String>,
}

/// A server and what it lets us do.
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<Secret>,
}

/// Where the server is: as given, or as the running server wrote it into the data folder.
pub(crate) fn server_url(given: Option<&str>, folders: &Folders) -> String {
    let noted = || {
        let text = std::fs::read_to_string(folders.server_file()).ok()?;
        let noted: serde_json::Value = serde_json::from_str(&text).ok()?;
        Some(noted.get("url")?.as_str()?.to_owned())
    };
    let url = given.map(ToOwned::to_owned).or_else(noted);
    url.unwrap_or_else(|| DEFAULT_URL.to_owned())
        .trim_end_matches('/')
        .to_owned()
}

impl Client {
    pub(crate) fn new(args: &ServerArgs, folders: &Folders) -> Result<Self, Problem> {
        let url = server_url(args.server.as_deref(), folders);
        // A plain address needs no certificates, which a small machine may not have.
        let http = if url.starts_with("https:") {
            windlass_forge::http_client().map_err(|e| Problem::new(e.to_string()))?
        } else {
            rustls::crypto::ring::default_provider()
                .install_default()
                .unwrap_or_default();
            reqwest::Client::builder()
                .tls_certs_only(std::iter::empty::<reqwest::Certificate>())
                .build()
                .map_err(|e| Problem::new(format!("could not make an HTTP client: {e}")))?
        };
        let token = match std::env::var("WINDLASS_TOKEN") {
            Ok(token) if !token.is_empty() => Some(Secret::new(token)),
            // Another machine's server does not know this folder's token.
            _ if args.server.is_none() => Some(folders.token()?),
            _ => None,
        };
        Ok(Self { http, url, token })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Response, Problem> {
        self.send(Method::GET, path).await
    }

    pub(crate) async fn post(&self, path: &str) -> Result<Response, Problem> {
        self.send(Method::POST, path).await
    }

    /// The answer to a GET, as JSON.
    pub(crate) async fn json(&self, path: &str) -> Result<serde_json::Value, Problem> {
        let answer = self.get(path).await?;
        answer.json().await.map_err(|e| {
            Problem::new(format!("{} gave an answer that is not JSON: {e}", self.url))
                .hint("is it a Windlass server?")
        })
    }

    async fn send(&self, method: Method, path: &str) -> Result<Response, Problem> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let answer = request.send().await.map_err(|e| {
            Problem::new(format!(
                "the server {} can't be reached: {}",
                self.url,
                e.without_url()
            ))
            .hint("start it with `windlass serve`, or name another one with --server URL")
            .code(EXIT_UNREACHABLE)
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body: serde_json::Value = answer.json().await.unwrap_or_default();
        let text = |key: &str| {
            body.get(key)
                .and_then(|v| v.as_str())
                .map(ToOwned::to_owned)
        };
        let message = text("error").unwrap_or_else(|| format!("the server answered {status}"));
        let problem = Problem::new(message);
        Err(match text("hint") {
            _ if status == StatusCode::UNAUTHORIZED => problem
                .hint("put the server's token (its data folder's admin.token) into WINDLASS_TOKEN"),
            Some(hint) => problem.hint(hint),
            None => problem,
        })
    }

    /// A build named by a person: `demo/12`, `demo#12`, or `12` where there is one repository.
    pub(crate) async fn find(&self, name: &str) -> Result<(RepoName, i64), Problem> {
        let unclear = || {
            Problem::new(format!("{name:?} does not name a build"))
                .hint("say REPOSITORY/NUMBER, such as demo/12; `windlass builds` lists them")
        };
        if let Some((repo, number)) = name.rsplit_once(['/', '#']) {
            return Ok((repo.parse()?, number.parse().map_err(|_| unclear())?));
        }
        let number = name.parse().map_err(|_| unclear())?;
        let repos = self.json("/api/v1/repos").await?;
        let names: Vec<&str> = repos
            .get("repos")
            .and_then(|r| r.as_array())
            .map(|r| {
                r.iter()
                    .filter_map(|repo| repo.get("name")?.as_str())
                    .collect()
            })
            .unwrap_or_default();
        match names.as_slice() {
            [only] => Ok((only.parse()?, number)),
            _ => Err(unclear()),
        }
    }
}
