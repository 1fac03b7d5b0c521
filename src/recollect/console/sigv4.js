// AWS Signature Version 4 of one request, made with WebCrypto.
//
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

const ALGORITHM = "AWS4-HMAC-SHA256";
const SERVICE = "rekognition";
const encoder = new TextEncoder();

/**
 * Sign a request without a query string.
 *
 * @param {{method: string, url: URL, headers: Object<string, string>, body: string}} request
 *   with every header that shall be signed, names in lower case, without host.
 * @param {{keyId: string, secret: string, token?: string, region: string}} credentials
 * @param {Date} now the time that the signature states.
 * @returns {Promise<Object<string, string>>} the headers to send; the browser adds host itself.
 */
export async function sign({ method, url, headers, body }, credentials, now) {
  const timestamp = now.toISOString().replace(/[-:]|\.\d{3}/g, "");
  const sent = { ...headers, "x-amz-date": timestamp };
  if (credentials.token) sent["x-amz-security-token"] = credentials.token;

  const signed = Object.entries({ ...sent, host: url.host })
    .map(([name, value]) => [name, value.trim().replace(/ +/g, " ")])
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const names = signed.map(([name]) => name).join(";");
  const canonical = [
    method,
    canonicalPath(url.pathname),
    "",
    ...signed.map(([name, value]) => `${name}:${value}`),
    "",
    names,
    hex(await sha256(body)),
  ].join("\n");

  const scope = [timestamp.slice(0, 8), credentials.region, SERVICE, "aws4_request"];
  const toSign = [ALGORITHM, timestamp, scope.join("/"), hex(await sha256(canonical))].join("\n");
  let key = encoder.encode(`AWS4${credentials.secret}`);
  for (const part of scope) key = await hmac(key, part);
  const signature = hex(await hmac(key, toSign));

  sent.authorization =
    `${ALGORITHM} Credential=${credentials.keyId}/${scope.join("/")}, ` +
    `SignedHeaders=${names}, Signature=${signature}`;
  return sent;
}

// The path is encoded once more than it was sent, as every service but S3 demands.
function canonicalPath(path) {
  return path.split("/").map(encode).join("/");
}

function encode(text) {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function sha256(text) {
  return crypto.subtle.digest("SHA-256", encoder.encode(text));
}

async function hmac(key, text) {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const imported = await crypto.subtle.importKey("raw", key, algorithm, false, ["sign"]);
  return crypto.subtle.sign("HMAC", imported, encoder.encode(text));
}

function hex(buffer) {
  return Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
