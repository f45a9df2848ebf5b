// A stub in the hands of an attacker: it runs whatever code it is sent, in its sandbox, with all
// that a stub has. An order is `execute` with `body.order`, the body of a function; what that
// returns, or promises, is the answer. Every other request is answered as a tame stub would.
export default function activate(url, bus, configuration) {
  const heard = [];
  // The response to a message, or to nobody's surprise its timeout.
  const ask = (message) => new Promise((resolve) => bus.postMessage(message, resolve));
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const tools = { url, bus, configuration, heard, ask, pause };
  const stringify = JSON.stringify;

  bus.addListener('*', (message) => {
    if (message.type === 'response') {
      return;
    }
    const answer = (body) => bus.postMessage({
      id: message.id, type: 'response', from: message.to, to: message.from, body,
    });
    const order = message.type === 'execute' && message.body ? message.body.order : undefined;
    if (typeof order !== 'string') {
      heard.push(message);
      answer({ code: 200, value: 'tame' });
      return;
    }
    new Promise((resolve) => resolve(new Function('tools', order)(tools)))
      .then((value) => ({ code: 200, value: value === undefined ? null : value }))
      .catch((error) => ({ code: 500, value: `${error}` }))
      .then((body) => {
        JSON.stringify = stringify;
        answer(body);
      });
  });
  bus.postMessage({ type: 'update', from: url, to: `${url}/status`, body: { value: 'live' } });
  return { name: 'Puppet' };
}
