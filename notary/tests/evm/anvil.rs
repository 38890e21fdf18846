//! A real EVM node (Foundry's anvil), and a proxy before it that can be told to fail.

use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The first of anvil's well-known accounts, which has money on each chain that it makes.
pub const KEY: [u8; 32] = alloy_primitives::hex!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");

/// What lies in memory is enough: a node that is killed would leave the states of its blocks behind, up to 2 GB of them each.
const FORGETS: [&str; 2] = ["--max-persisted-states", "0"];

/// The node, ended when this is dropped.
pub struct Anvil {
    child: Child,
    pub port: u16,
    arguments: Vec<String>,
}

/// A program, where ci/test installs it or in the PATH.
pub fn program(name: &str) -> Option<PathBuf> {
    let tools = std::env::var("MEDSEAL_TOOLS").unwrap_or_else(|_| "/tmp/medseal-tools".to_owned());
    let installed = PathBuf::from(tools).join("node_modules/.bin").join(name);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(installed).chain(std::env::split_paths(&path).map(|p| p.join(name)));
    all.into_iter().find(|p| p.is_file())
}

impl Anvil {
    /// A chain of its own; nothing if anvil is not installed, which is said.
    pub async fn start(arguments: &[&str]) -> Option<Self> {
        let Some(program) = program("anvil") else {
            eprintln!("skipped: anvil is not installed (npm's @foundry-rs/anvil; ./ci/test brings it)");
            return None;
        };
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut all = vec!["--silent".to_owned(), "--port".to_owned(), port.to_string()];
        all.extend(FORGETS.iter().chain(arguments).map(|a| (*a).to_owned()));
        let child = run(&program, &all);
        let anvil = Self { child, port, arguments: all };
        anvil.wait().await;
        Some(anvil)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Kill -9.
    pub fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The same chain again: what lay in its pool is gone.
    pub async fn again(&mut self) {
        self.child = run(&program("anvil").unwrap(), &self.arguments);
        self.wait().await;
    }

    async fn wait(&self) {
        for _ in 0..600 {
            if try_ask(self.port, "eth_chainId", json!([])).await.is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("anvil does not start");
    }

    /// A request of JSON-RPC.
    pub async fn ask(&self, method: &str, params: Value) -> Value {
        let answer = try_ask(self.port, method, params).await.unwrap();
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    pub async fn mine(&self, blocks: u64) {
        self.ask("anvil_mine", json!([blocks])).await;
    }

    /// Seconds since 1970, by the newest block.
    pub async fn now(&self) -> u64 {
        let block = self.ask("eth_getBlockByNumber", json!(["latest", false])).await;
        number(&block["timestamp"])
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

fn run(program: &PathBuf, arguments: &[String]) -> Child {
    Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

async fn try_ask(port: u16, method: &str, params: Value) -> Option<Value> {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    serde_json::from_str(&post(port, &body).await?).ok()
}

async fn post(port: u16, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

/// What a proxy does with a question and its answer.
pub type Fault = fn(question: &str, answer: String) -> Option<String>;

/// Stands before a node.
#[derive(Clone)]
pub struct Proxy {
    pub port: u16,
    fault: Arc<Mutex<Fault>>,
}

impl Proxy {
    pub async fn before(anvil: &Anvil) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fault: Arc<Mutex<Fault>> = Arc::new(Mutex::new(pass));
        let proxy = Self { port: listener.local_addr().unwrap().port(), fault: fault.clone() };
        let to = anvil.port;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, to, fault.clone()));
            }
        });
        proxy
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn fail(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }
}

/// Nothing fails.
pub fn pass(_: &str, answer: String) -> Option<String> {
    Some(answer)
}

/// Nothing is answered.
pub fn down(_: &str, _: String) -> Option<String> {
    None
}

/// One request a connection.
async fn serve(mut stream: TcpStream, to: u16, fault: Arc<Mutex<Fault>>) -> Option<()> {
    let mut text = String::new();
    let mut piece = [0; 65_536];
    loop {
        let read = stream.read(&mut piece).await.ok()?;
        text.push_str(std::str::from_utf8(&piece[..read]).ok()?);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        let length = head.to_ascii_lowercase().split_once("content-length: ").map(|(_, rest)| rest.to_owned());
        let length: Option<usize> = length.and_then(|rest| rest.lines().next()?.trim().parse().ok());
        if read == 0 || length.is_some_and(|length| body.len() >= length) {
            break;
        }
    }
    let question = text.split_once("\r\n\r\n")?.1.to_owned();
    // A dropped transaction never reaches the node: the fault is asked first.
    let dropped = fault.lock().unwrap()(&question, String::new());
    let answer = match dropped {
        Some(answer) if !answer.is_empty() => answer,
        Some(_) => post(to, &question).await?,
        None => return None,
    };
    let answer = fault.lock().unwrap()(&question, answer)?;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        answer.len()
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(answer.as_bytes()).await.ok()
}
