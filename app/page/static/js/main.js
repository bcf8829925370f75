// Puts the parts of the page together. Without scripts it is a plain form, and stays one.

import { Board } from "./board.js";
import { Camera } from "./camera.js";
import { History } from "./history.js";
import { intake } from "./intake.js";
import { Settings } from "./settings.js";
import { Uploads } from "./uploads.js";

const byId = (id) => document.getElementById(id);
const { root, maxBytes } = document.querySelector("main").dataset;

const settings = new Settings(byId("form"), byId("threshold"), byId("threshold-shown"), byId("shown"));
const board = new Board(byId("results"), {
  settings,
  uploads: new Uploads(root, Number(maxBytes), settings),
  history: new History(byId("history")),
  root,
});

const parts = { input: byId("file"), examples: byId("examples"), form: byId("form"), problem: byId("intake-problem") };
for (const element of document.querySelectorAll(".enhanced")) element.hidden = false;
for (const element of document.querySelectorAll(".plain")) element.hidden = true;

intake(parts, (files) => board.take(files));
new Camera(byId("camera"), byId("open-camera"), { settings, root, take: (file) => board.take([file]) });
