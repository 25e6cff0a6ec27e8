// Ratings are kept in the browser, those of one output folder together, and saved as files.
var ratings = (function () {
  var place = "qc_jax " + location.pathname.replace(/[^\/]*$/, ""), whoKey = "qc_jax rater";
  var fields = ["name", "rating", "cause", "note", "rater", "date"];
  function get(key, otherwise) {
    try { return JSON.parse(localStorage.getItem(key)) || otherwise; } catch (error) { return otherwise; }
  }
  function put(key, value) {
    try { localStorage.setItem(key, JSON.stringify(value)); return true; } catch (error) { return false; }
  }
  function all() { return get(place, {}); }
  function rows() {
    var kept = all(), who = get(whoKey, "");
    return Object.keys(kept).sort().filter(function (name) { return kept[name].rating; }).map(function (name) {
      return { name: name, rating: kept[name].rating, cause: kept[name].cause || "", note: kept[name].note || "", rater: who, date: kept[name].date };
    });
  }
  function cell(text) {
    text = String(text).replace(/[\t\r\n]+/g, " ");
    return /^[=+\-@]/.test(text) ? "'" + text : text;
  }
  function save(kind) {
    var content = kind === "json" ? JSON.stringify(rows(), null, 1) + "\n"
      : [fields].concat(rows().map(function (row) { return fields.map(function (f) { return cell(row[f]); }); }))
        .map(function (cells) { return cells.join("\t"); }).join("\n") + "\n";
    var link = document.createElement("a"), who = get(whoKey, "").replace(/\W+/g, "_");
    link.href = URL.createObjectURL(new Blob([content], { type: "text/plain" }));
    link.download = "ratings" + (who ? "_" + who : "") + "." + kind;
    link.click();
    URL.revokeObjectURL(link.href);
  }
  // A form for one scan at a time; `next` is called by its button and by n, `changed` after a rating.
  function form(next, changed) {
    var root = document.getElementById("rating"), name = "";
    var buttons = Array.from(root.querySelectorAll("button[data-rating]"));
    var cause = root.querySelector("select"), note = root.querySelector(".note"), who = root.querySelector(".who");
    var said = root.querySelector("[role=status]");
    function show() {
      var mine = all()[name] || {};
      buttons.forEach(function (b) { b.setAttribute("aria-pressed", b.dataset.rating === mine.rating); });
      cause.value = mine.cause || ""; note.value = mine.note || ""; who.value = get(whoKey, "");
      said.textContent = rows().length + " rated";
    }
    function set(part) {
      var kept = all();
      kept[name] = Object.assign({}, kept[name], part, { date: new Date().toISOString() });
      var done = put(place, kept);
      show();
      if (!done) said.textContent = "this browser keeps nothing: save before you leave the page";
      if (changed) changed();
    }
    buttons.forEach(function (b) { b.addEventListener("click", function () { set({ rating: b.dataset.rating }); }); });
    cause.addEventListener("change", function () { set({ cause: cause.value }); });
    note.addEventListener("change", function () { set({ note: note.value }); });
    who.addEventListener("change", function () { put(whoKey, who.value.trim()); });
    root.querySelector(".next").addEventListener("click", next);
    root.querySelectorAll("button[data-save]").forEach(function (b) { b.addEventListener("click", function () { save(b.dataset.save); }); });
    document.addEventListener("keydown", function (event) {
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA|CANVAS)$/.test(event.target.tagName)) return;
      var at = "123".indexOf(event.key);
      if (event.key.length === 1 && at >= 0) buttons[at].click();
      if (event.key === "n") next();
    });
    return { show: function (which) { name = which; show(); } };
  }
  function queue(names) { put(place + " queue", names); }
  // The first scan behind this one in the queue, then from its start, that has no rating.
  function after(name) {
    var names = get(place + " queue", []), kept = all(), at = names.indexOf(name);
    return names.slice(at + 1).concat(names.slice(0, at + 1)).find(function (n) { return n !== name && !(kept[n] || {}).rating; });
  }
  return { all: all, form: form, queue: queue, after: after };
})();
