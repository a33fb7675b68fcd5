// Starts `din lsp` for .din files.

const vscode = require("vscode");
const { LanguageClient, TransportKind } = require("vscode-languageclient/node");

let client;

async function start() {
  const command = vscode.workspace.getConfiguration("din").get("path", "din");
  const server = { command, args: ["lsp"], transport: TransportKind.stdio };
  const options = {
    documentSelector: [{ language: "din" }],
    synchronize: { fileEvents: vscode.workspace.createFileSystemWatcher("**/*.din") },
  };
  client = new LanguageClient("din", "Din", server, options);
  try {
    await client.start();
  } catch (error) {
    client = undefined;
    const message = `Din: cannot start \`${command} lsp\`. Install din, or set \`din.path\`. (${error.message})`;
    vscode.window.showErrorMessage(message);
  }
}

async function stop() {
  const running = client;
  client = undefined;
  if (running) {
    await running.stop();
  }
}

async function activate(context) {
  const restart = async () => {
    await stop();
    await start();
  };
  context.subscriptions.push(
    vscode.commands.registerCommand("din.restart", restart),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("din.path")) {
        restart();
      }
    }),
  );
  await start();
}

module.exports = { activate, deactivate: stop };
