//! The loop: messages in, answers out. One thread answers in the order of the messages; several
//! edits that wait are taken together before their faults are published.

use crate::documents::{Document, Documents};
use crate::position::ColumnUnit;
use crate::uri::path_of;
use crate::{actions, completion, diagnostics, hints, hover, navigate, outline, rename, signature, tokens};
use gen_lsp_types::{
    CodeActionParams, CompletionParams, DefinitionParams, DidChangeTextDocumentParams, DidChangeWatchedFilesParams,
    DidCloseTextDocumentParams, DidOpenTextDocumentParams, DocumentFormattingParams, DocumentHighlightParams,
    DocumentSymbolParams, FoldingRangeParams, HoverParams, InitializeParams, InlayHintParams, Position,
    PositionEncodingKind, PrepareRenameParams, PublishDiagnosticsParams, ReferenceParams, RenameParams,
    SemanticTokensParams, SignatureHelpParams, TextDocumentPositionParams, TextEdit, Uri, WorkspaceFolders,
};
use lsp_server::{Connection, ErrorCode, Message, Notification, Request, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

/// Why the server ended before it was told to.
#[derive(Debug)]
pub struct ServeError(String);

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the language server: {}", self.0)
    }
}

impl std::error::Error for ServeError {}

/// Serves an editor over standard input and output until it says `exit`.
///
/// # Errors
/// The other side does not keep to the protocol, or goes away without `exit`.
pub fn serve() -> Result<(), ServeError> {
    let failed = |e: &dyn fmt::Display| ServeError(e.to_string());
    let (connection, threads) = Connection::stdio();
    run(&connection).map_err(|e| failed(&e))?;
    // The writing thread ends once nothing can be sent any more.
    drop(connection);
    threads.join().map_err(|e| failed(&e))
}

fn run(connection: &Connection) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (id, params) = connection.initialize_start()?;
    let params: InitializeParams = serde_json::from_value(params)?;
    let mut server = Server::new(&params);
    let answer = json!({
        "capabilities": capabilities(server.documents.unit),
        "serverInfo": { "name": "din", "version": env!("CARGO_PKG_VERSION") },
    });
    connection.initialize_finish(id, answer)?;
    while let Ok(message) = connection.receiver.recv() {
        match message {
            Message::Request(request) => {
                if connection.handle_shutdown(&request)? {
                    return Ok(());
                }
                connection.sender.send(server.answer(request).into())?;
            }
            Message::Notification(notification) => server.take(notification),
            // The server asks nothing.
            Message::Response(_) => {}
        }
        if connection.receiver.is_empty() {
            for publication in server.publications() {
                let method = "textDocument/publishDiagnostics".to_owned();
                connection.sender.send(Notification::new(method, publication).into())?;
            }
        }
    }
    Err("the editor went away without `exit`".into())
}

fn capabilities(unit: ColumnUnit) -> Value {
    let encoding = match unit {
        ColumnUnit::Utf8 => PositionEncodingKind::UTF8,
        ColumnUnit::Utf16 => PositionEncodingKind::UTF16,
    };
    json!({
        "positionEncoding": encoding,
        // Incremental.
        "textDocumentSync": { "openClose": true, "change": 2 },
        "hoverProvider": true,
        "definitionProvider": true,
        "referencesProvider": true,
        "documentHighlightProvider": true,
        "renameProvider": { "prepareProvider": true },
        "completionProvider": { "triggerCharacters": [".", ":"] },
        "signatureHelpProvider": { "triggerCharacters": ["(", ","] },
        "documentSymbolProvider": true,
        "foldingRangeProvider": true,
        "documentFormattingProvider": true,
        "codeActionProvider": { "codeActionKinds": ["quickfix"] },
        "inlayHintProvider": true,
        "semanticTokensProvider": { "legend": tokens::legend(), "full": true },
    })
}

struct Server {
    documents: Documents,
    roots: Vec<PathBuf>,
    /// Documents whose faults are to be published anew.
    stale: BTreeSet<String>,
    closed: Vec<Uri>,
}

/// What is answered instead of a result.
struct Refusal {
    code: ErrorCode,
    message: String,
}

type Answer = Result<Value, Refusal>;

impl Server {
    fn new(params: &InitializeParams) -> Self {
        let general = params.capabilities.general.as_ref();
        let known = general.and_then(|general| general.position_encodings.as_ref());
        let utf8 = known.is_some_and(|all| all.contains(&PositionEncodingKind::UTF8));
        let unit = if utf8 { ColumnUnit::Utf8 } else { ColumnUnit::Utf16 };
        let mut roots = Vec::new();
        if let Some(WorkspaceFolders::WorkspaceFolderList(folders)) =
            &params.workspace_folders_initialize_params.workspace_folders
        {
            roots.extend(folders.iter().filter_map(|folder| path_of(&folder.uri)));
        }
        #[allow(deprecated, reason = "older editors say only this")]
        if roots.is_empty() {
            roots.extend(params.root_uri.as_ref().and_then(path_of));
        }
        Self { documents: Documents::new(unit), roots, stale: BTreeSet::new(), closed: Vec::new() }
    }

    fn take(&mut self, notification: Notification) {
        let Notification { method, params } = notification;
        match method.as_str() {
            "textDocument/didOpen" => {
                let Some(params) = told::<DidOpenTextDocumentParams>(&method, params) else { return };
                let document = params.text_document;
                self.documents.open(document.uri, document.version, document.text);
            }
            "textDocument/didChange" => {
                let Some(params) = told::<DidChangeTextDocumentParams>(&method, params) else { return };
                let uri = params.text_document.text_document_identifier.uri;
                self.documents.change(&uri, params.text_document.version, params.content_changes);
            }
            "textDocument/didClose" => {
                let Some(params) = told::<DidCloseTextDocumentParams>(&method, params) else { return };
                self.documents.close(&params.text_document.uri);
                self.closed.push(params.text_document.uri);
            }
            "workspace/didChangeWatchedFiles" => {
                let Some(params) = told::<DidChangeWatchedFilesParams>(&method, params) else { return };
                for change in params.changes {
                    self.documents.forget(path_of(&change.uri).as_deref());
                }
            }
            // `$/cancelRequest`: an answer takes less than the message. What else is told is not
            // asked for.
            _ => return,
        }
        // An open document may import what changed.
        self.stale.extend(self.documents.all().map(|document| document.uri.0.clone()));
    }

    /// The faults of documents that changed or whose imports did.
    fn publications(&mut self) -> Vec<PublishDiagnosticsParams> {
        let closed = std::mem::take(&mut self.closed).into_iter();
        let gone = closed.map(|uri| PublishDiagnosticsParams { uri, version: None, diagnostics: Vec::new() });
        let mut publications: Vec<PublishDiagnosticsParams> = gone.collect();
        for uri in std::mem::take(&mut self.stale) {
            let Some(document) = self.documents.get(&Uri(uri)) else { continue };
            if let Ok(publication) = guarded(|| diagnostics::publication(&self.documents, document)) {
                publications.push(publication);
            }
        }
        publications
    }

    fn answer(&self, request: Request) -> Response {
        let id = request.id.clone();
        let answer = guarded(|| self.result(request)).unwrap_or_else(|message| {
            Err(Refusal { code: ErrorCode::InternalError, message: format!("din has a bug: {message}") })
        });
        match answer {
            Ok(value) => Response::new_ok(id, value),
            Err(Refusal { code, message }) => Response::new_err(id, code as i32, message),
        }
    }

    fn result(&self, request: Request) -> Answer {
        let Request { method, params, .. } = request;
        let all = &self.documents;
        match method.as_str() {
            "textDocument/hover" => {
                let params: HoverParams = read(params)?;
                let (document, at) = self.place(&params.text_document_position_params)?;
                value(hover::hover(all, document, at))
            }
            "textDocument/definition" => {
                let params: DefinitionParams = read(params)?;
                let (document, at) = self.place(&params.text_document_position_params)?;
                value(navigate::definition(all, document, at))
            }
            "textDocument/references" => {
                let params: ReferenceParams = read(params)?;
                let (document, at) = self.place(&params.text_document_position_params)?;
                value(navigate::references(all, &self.roots, document, at, params.context.include_declaration))
            }
            "textDocument/documentHighlight" => {
                let params: DocumentHighlightParams = read(params)?;
                let (document, at) = self.place(&params.text_document_position_params)?;
                value(navigate::highlights(all, document, at))
            }
            "textDocument/prepareRename" => {
                let params: PrepareRenameParams = read(params)?;
                let (document, at) = self.place(&params.text_document_position_params)?;
                value(rename::prepare(all, document, at).map_err(refused)?)
            }
            "textDocument/rename" => {
                let params: RenameParams = read(params)?;
                let (document, at) = self.place(&params.text_document_position_params)?;
                value(rename::rename(all, &self.roots, document, at, &params.new_name).map_err(refused)?)
            }
            "textDocument/completion" => {
                let params: CompletionParams = read(params)?;
                let (document, at) = self.place(&params.text_document_position_params)?;
                value(completion::complete(all, document, at))
            }
            "textDocument/signatureHelp" => {
                let params: SignatureHelpParams = read(params)?;
                let (document, at) = self.place(&params.text_document_position_params)?;
                value(signature::help(all, document, at))
            }
            "textDocument/documentSymbol" => {
                let params: DocumentSymbolParams = read(params)?;
                value(outline::symbols(all, self.document(&params.text_document.uri)?))
            }
            "textDocument/foldingRange" => {
                let params: FoldingRangeParams = read(params)?;
                value(outline::folds(all, self.document(&params.text_document.uri)?))
            }
            "textDocument/formatting" => {
                let params: DocumentFormattingParams = read(params)?;
                value(formatted(self.document(&params.text_document.uri)?))
            }
            "textDocument/codeAction" => {
                let params: CodeActionParams = read(params)?;
                let document = self.document(&params.text_document.uri)?;
                value(actions::actions(all, document, params.range, &params.context))
            }
            "textDocument/inlayHint" => {
                let params: InlayHintParams = read(params)?;
                value(hints::hints(all, self.document(&params.text_document.uri)?, params.range))
            }
            "textDocument/semanticTokens/full" => {
                let params: SemanticTokensParams = read(params)?;
                value(tokens::tokens(all, self.document(&params.text_document.uri)?))
            }
            _ => Err(Refusal { code: ErrorCode::MethodNotFound, message: format!("`{method}` is not known") }),
        }
    }

    fn document(&self, uri: &Uri) -> Result<&Document, Refusal> {
        let message = || format!("{} is not open", uri.0);
        self.documents.get(uri).ok_or_else(|| Refusal { code: ErrorCode::InvalidParams, message: message() })
    }

    fn place(&self, at: &TextDocumentPositionParams) -> Result<(&Document, Position), Refusal> {
        Ok((self.document(&at.text_document.uri)?, at.position))
    }
}

/// Keeps the server running where one request meets a bug of ours; the panic is on standard error.
fn guarded<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    // What a panic leaves behind is a cache that was not filled.
    catch_unwind(AssertUnwindSafe(body)).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a text".into())
    })
}

/// What a notification says. One that cannot be read has no answer that would say so, and the
/// editor and the server may differ from there on: that is said on standard error.
fn told<T: DeserializeOwned>(method: &str, params: Value) -> Option<T> {
    match serde_json::from_value(params) {
        Ok(params) => Some(params),
        Err(e) => {
            eprintln!("din lsp: `{method}`: expected other parameters: {e}");
            None
        }
    }
}

fn read<T: DeserializeOwned>(params: Value) -> Result<T, Refusal> {
    serde_json::from_value(params)
        .map_err(|e| Refusal { code: ErrorCode::InvalidParams, message: format!("expected other parameters: {e}") })
}

fn value(result: impl Serialize) -> Answer {
    serde_json::to_value(result).map_err(|e| Refusal { code: ErrorCode::InternalError, message: e.to_string() })
}

fn refused(message: String) -> Refusal {
    Refusal { code: ErrorCode::RequestFailed, message }
}

/// The text as `din fmt` writes it; nothing while it has syntax errors.
fn formatted(document: &Document) -> Option<Vec<TextEdit>> {
    let new_text = din_grammar::format(&document.text).ok()?;
    if new_text == document.text {
        return Some(Vec::new());
    }
    let end = document.lines.position(&document.text, document.text.len());
    let range = gen_lsp_types::Range { start: Position { line: 0, character: 0 }, end };
    Some(vec![TextEdit { range, new_text }])
}
