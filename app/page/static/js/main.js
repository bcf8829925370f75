// Connects the parts of the page. Without JavaScript the page is a plain form.

import { Camera } from "./camera.js";
import { fileInput } from "./file-input.js";
import { History } from "./history.js";
import { ResultList } from "./result-list.js";
import { Settings } from "./settings.js";
import { Uploads } from "./uploads.js";

const byId = (id) => document.getElementById(id);
const { root, maxBytes } = document.querySelector("main").dataset;

const settings = new Settings(byId("form"), byId("threshold"), byId("threshold-shown"), byId("shown"));
const results = new ResultList(byId("results"), {
  settings,
  uploads: new Uploads(root, Number(maxBytes), settings),
  history: new History(byId("history")),
  root,
});

byId("address").textContent = location.origin;
const elements = { input: byId("file"), examples: byId("examples"), form: byId("form"), problem: byId("file-problem") };
for (const element of document.querySelectorAll(".enhanced")) element.hidden = false;
for (const element of document.querySelectorAll(".plain")) element.hidden = true;

fileInput(elements, (files) => results.add(files));
new Camera(byId("camera"), byId("open-camera"), { settings, root, onPhoto: (file) => results.add([file]) });
