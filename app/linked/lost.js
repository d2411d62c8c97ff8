// A lost connection: a sentence that says what to do, gone again when the server is back.

const LOST = "The page has lost headscope’s server: it was stopped, or the connection broke. Start it again with the same command; this page then goes on where it is.";

class Lost {
  constructor(colours) {
    this.colours = colours;
    this.node = element("div", { class: "hs-lost", role: "alert" });
    this.watching = new MutationObserver(() => this.look());
    this.app = document.querySelector(".stApp");
    if (this.app) this.watching.observe(this.app, { attributes: true, attributeFilter: ["data-test-connection-state"] });
    this.look();
  }

  look() {
    const state = this.app?.dataset.testConnectionState;
    clearTimeout(this.waiting);
    if (state === undefined || state === "CONNECTED") return this.say(false);
    // A short break mends itself unseen.
    this.waiting = setTimeout(() => this.say(true), 1000);
    return undefined;
  }

  say(lost) {
    document.documentElement.classList.toggle("hs-is-lost", lost);
    if (!lost) return this.node.remove();
    for (const [name, value] of Object.entries(this.colours())) this.node.style.setProperty(name, value);
    document.body.append(this.node);
    // Read aloud only where the text comes after the place for it.
    return requestAnimationFrame(() => setText(this.node, LOST));
  }

  close() {
    this.watching.disconnect();
    clearTimeout(this.waiting);
    this.say(false);
  }
}
