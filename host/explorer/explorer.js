// The API explorer: Swagger UI over the gateway's document, with one sign-in for all requests.
//
// The access token stays in this page's memory. A reload forgets it.

const SCHEME = "bearerAuth";
const element = (id) => document.getElementById(id);

// Swagger UI has a dark theme for pages whose root has this class.
const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", paint);
paint();

// The value behind a reference of the document. Only references within the document are followed.
function resolve(document, value) {
  for (let depth = 0; value?.$ref && depth < 16; depth++) {
    const names = value.$ref.startsWith("#/") ? value.$ref.slice(2).split("/") : [];
    value = names.length > 0 ? names.reduce((inside, name) => inside?.[name.replaceAll("~1", "/").replaceAll("~0", "~")], document) : null;
  }
  return value;
}

function schema(document, holder) {
  return resolve(document, resolve(document, holder)?.content?.["application/json"]?.schema);
}

// The path of the operation that signs in: its body has a username and a password, and its answer an access token.
function signInPath(document) {
  for (const [path, { post }] of Object.entries(document.paths ?? {})) {
    const sent = schema(document, post?.requestBody)?.properties;
    const answer = schema(document, post?.responses?.["200"])?.properties;
    if (sent?.username && sent.password && resolve(document, answer?.data)?.properties?.access_token) return path;
  }
  return null;
}

function show(name) {
  element("sign-in").hidden = name !== null;
  element("signed-in").hidden = name === null;
  element("signed-in").querySelector("span").textContent = name === null ? "" : `Requests are sent as ${name}.`;
}

async function signIn(ui, path) {
  const { username, password } = Object.fromEntries(new FormData(element("sign-in")));
  element("message").textContent = "";
  try {
    // Relative, like the document: a proxy may serve both below a prefix.
    const response = await fetch(`.${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ username, password }),
    });
    const answer = await response.json();
    if (!answer.data?.access_token) throw new Error(answer.error?.message ?? `The host answered ${response.status}`);
    ui.preauthorizeApiKey(SCHEME, answer.data.access_token);
    element("sign-in").reset();
    show(username);
    element("signed-in").querySelector("button").focus();
  } catch (error) {
    element("message").textContent = error.message;
    element("password").select();
  }
}

function start(ui) {
  const path = signInPath(ui.specSelectors.specJson().toJS());
  if (path === null) return;
  show(null);
  element("sign-in").addEventListener("submit", (event) => {
    event.preventDefault();
    signIn(ui, path);
  });
  element("signed-in").querySelector("button").addEventListener("click", () => {
    ui.authActions.logout([SCHEME]);
    show(null);
    element("username").focus();
  });
}

// What Swagger UI lacks for the keyboard and for screen readers. An operation is one button, without a link inside. Boxes scroll by
// key. Buttons and fields have names. There is one server, so there is no list of them.
const accessible = ({ React: { createElement: create } }) => ({
  wrapComponents: {
    DeepLink: () => ({ text }) => create("span", {}, text),
    PlainTextViewer: () => ({ className = "", children }) => create("pre", { className: `microlight ${className}`, tabIndex: 0 }, children),
    TextArea: (Original) => (properties) => create(Original, { "aria-label": "Request body", ...properties }),
    Button: (Original) => ({ "aria-label": label, ...properties }) => create(Original, properties.children ? properties : { ...properties, "aria-label": label }),
    CloseIcon: (Original) => (properties) => create(Original, { ...properties, role: "img", "aria-label": "Close", "aria-hidden": null }),
    ServersContainer: () => () => null,
  },
});

const ui = window.SwaggerUIBundle({
  url: "openapi.json",
  domNode: element("explorer"),
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
  // Its colours are hard to read on some of its grounds.
  syntaxHighlight: { activated: false },
  plugins: [accessible],
  // Nothing is sent to another host, and nothing is read from the address.
  validatorUrl: null,
  queryConfigEnabled: false,
  onComplete: () => start(ui),
});
