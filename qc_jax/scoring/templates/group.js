// The table, the queue and the groups of a group page, from `DATA`: columns by name, each a list, or
// { words, places } where the same words come again and again.
(function () {
  var COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d00", "#57606a"];
  var STEP = 200, CARDS = 48, DRAWN = 2000;
  var columns = {}, names = DATA.columns.name, number = names.length;
  Object.keys(DATA.columns).forEach(function (key) {
    var held = DATA.columns[key];
    columns[key] = held.words ? held.places.map(function (i) { return i < 0 ? null : held.words[i]; }) : held;
  });
  function link(name) { return encodeURIComponent(name) + ".html"; }
  function make(kind, text, parent) {
    var element = document.createElement(kind);
    if (text !== undefined) element.textContent = text;
    if (parent) parent.appendChild(element);
    return element;
  }
  function scored(i) { return columns.status[i] === "scored"; }
  function picture(i, parent) {
    var image = make("img", undefined, parent);
    image.alt = ""; image.loading = "lazy"; image.width = 288; image.height = 96;
    image.addEventListener("error", function () { image.remove(); });
    image.src = DATA.thumbnails + "/" + encodeURIComponent(names[i]) + ".png";
  }

  // -- Table
  var table = document.getElementById("scans"), body = table.tBodies[0], heads = Array.from(table.tHead.rows[0].cells);
  var more = document.getElementById("more"), count = document.getElementById("count");
  var order = names.map(function (_, i) { return i; }), wanted = "", shown = STEP;
  function row(i) {
    var line = make("tr"), head = make("th", undefined, line);
    head.scope = "row";
    if (scored(i)) make("a", names[i], head).href = link(names[i]); else head.textContent = names[i];
    DATA.table.forEach(function (key) {
      var value = columns[key][i], cell = make("td", undefined, line);
      if (value === null) return;
      cell.dataset.label = key;
      cell.textContent = typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(4))) : String(value);
      if (DATA.numbers.indexOf(key) >= 0) { cell.className = "n"; cell.dataset.value = value; }
      if (key === "decision") { cell.className = value; cell.title = columns.decision_reason[i]; }
      if (key === "sentence") cell.className = "wrap sentence";
    });
    return line;
  }
  function fill() {
    var fitting = order.filter(function (i) { return names[i].toLowerCase().indexOf(wanted) >= 0; });
    body.replaceChildren.apply(body, fitting.slice(0, shown).map(row));
    more.hidden = fitting.length <= shown;
    count.textContent = fitting.length + " of " + number + " scans" + (more.hidden ? "" : ", the first " + shown + " are shown");
  }
  // What a column is sorted by: its numbers, or the place of each word among all of its words, which are compared once.
  var collator = new Intl.Collator(undefined, { numeric: true }), places = {};
  function sortable(key) {
    var values = columns[key];
    if (values.every(function (v) { return v === null || typeof v === "number"; })) return values;
    if (!places[key]) {
      var words = Array.from(new Set(values)).filter(function (v) { return v !== null; }).sort(collator.compare), place = new Map();
      words.forEach(function (word, k) { place.set(word, k); });
      places[key] = values.map(function (v) { return v === null ? null : place.get(v); });
    }
    return places[key];
  }
  heads.forEach(function (head, index) {
    head.querySelector("button").addEventListener("click", function () {
      var down = head.getAttribute("aria-sort") === "ascending", values = sortable(index ? DATA.table[index - 1] : "name");
      heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      order.sort(function (a, b) {
        var x = values[a], y = values[b];
        if (x === null || y === null) return (x === null) - (y === null);
        return down ? y - x : x - y;
      });
      fill();
    });
  });
  document.getElementById("filter").addEventListener("input", function (event) {
    wanted = event.target.value.toLowerCase(); shown = STEP; fill();
  });
  more.addEventListener("click", function () { shown += STEP; fill(); });
  fill();

  // -- Queue
  var cards = document.getElementById("cards"), moreCards = document.getElementById("more-cards");
  var current = document.getElementById("current"), now = DATA.queue[0], cardsShown = CARDS;
  function cardsNow() {
    var kept = ratings.all();
    cards.replaceChildren.apply(cards, DATA.queue.slice(0, cardsShown).map(function (i) {
      var card = make("button"), mine = (kept[names[i]] || {}).rating;
      card.type = "button"; card.className = "card"; card.setAttribute("aria-current", i === now);
      picture(i, card);
      make("span", names[i], card).className = "name";
      make("span", "tool: " + columns.decision[i] + (mine ? ", you: " + mine : ""), card).className = "soft";
      if (mine) card.classList.add(mine);
      card.addEventListener("click", function () { show(i); });
      return card;
    }));
    moreCards.hidden = DATA.queue.length <= cardsShown;
  }
  function show(i) {
    now = i;
    current.replaceChildren();
    picture(i, current);
    make("a", names[i], make("strong", undefined, current)).href = link(names[i]);
    make("div", columns.decision[i] + ": " + columns.decision_reason[i], current).className = "soft";
    rate.show(names[i]);
    cardsNow();
  }
  if (DATA.queue.length) {
    // A browser keeps a few MB.
    ratings.queue(DATA.queue.slice(0, DRAWN).map(function (i) { return names[i]; }));
    var rate = ratings.form(function () {
      var name = ratings.after(names[now]);
      show(name === undefined ? DATA.queue[(DATA.queue.indexOf(now) + 1) % DATA.queue.length] : names.indexOf(name));
    }, cardsNow);
    moreCards.addEventListener("click", function () { cardsShown += CARDS; cardsNow(); });
    var first = DATA.queue.find(function (i) { return !(ratings.all()[names[i]] || {}).rating; });
    show(first === undefined ? DATA.queue[0] : first);
  }

  // -- Groups
  var select = document.getElementById("groups"), legend = document.getElementById("legend");
  var plots = Array.from(document.querySelectorAll(".plot")).map(function (plot) {
    return { column: plot.dataset.column, axis: DATA.axes[plot.dataset.column], svg: plot.querySelector("svg"), plain: plot.querySelector("svg").innerHTML };
  });
  function quantile(sorted, q) {
    var at = q * (sorted.length - 1), low = Math.floor(at);
    return sorted[low] + (at - low) * ((sorted[low + 1] === undefined ? sorted[low] : sorted[low + 1]) - sorted[low]);
  }
  // Groups of scans: by value, the largest seven and the rest, or by quarters where there are many numbers.
  function split(key) {
    var values = columns[key], there = values.filter(function (v) { return v !== null; }), label = function (v) { return String(v); };
    if (there.every(function (v) { return typeof v === "number"; }) && new Set(there).size > 7) {
      var sorted = there.slice().sort(function (a, b) { return a - b; }), cuts = [0, 0.25, 0.5, 0.75, 1].map(function (q) { return quantile(sorted, q); });
      label = function (v) {
        var k = v <= cuts[1] ? 0 : v <= cuts[2] ? 1 : v <= cuts[3] ? 2 : 3;
        return (k ? "above " : "") + Number(cuts[k].toPrecision(3)) + " to " + Number(cuts[k + 1].toPrecision(3));
      };
    }
    var members = new Map();
    values.forEach(function (v, i) {
      var name = v === null ? "n/a" : label(v);
      if (!members.has(name)) members.set(name, []);
      members.get(name).push(i);
    });
    var groups = Array.from(members).sort(function (a, b) { return b[1].length - a[1].length; });
    var rest = groups.splice(7).reduce(function (all, group) { return all.concat(group[1]); }, []);
    groups.sort(function (a, b) { return a[0].localeCompare(b[0], undefined, { numeric: true }); });
    return rest.length ? groups.concat([["others", rest]]) : groups;
  }
  function draw(kind, attributes, parent) {
    var element = document.createElementNS("http://www.w3.org/2000/svg", kind);
    Object.keys(attributes).forEach(function (key) { element.setAttribute(key, attributes[key]); });
    parent.appendChild(element);
    return element;
  }
  function position(axis, value) {
    var f = axis.logarithmic ? Math.log : Number, pinned = Math.min(Math.max(value, axis.low), axis.high);
    return 300 * (f(pinned) - f(axis.low)) / (f(axis.high) - f(axis.low));
  }
  function group(key) {
    var groups = key ? split(key) : [];
    legend.replaceChildren.apply(legend, groups.map(function (g, k) {
      var item = make("span", g[0] + " (" + g[1].length + ")");
      item.style.borderLeft = ".9rem solid " + COLOURS[k];
      return item;
    }));
    plots.forEach(function (plot) {
      var height = key ? 30 * groups.length : 70;
      plot.svg.setAttribute("viewBox", "0 0 300 " + height);
      plot.svg.style.aspectRatio = "300 / " + height;
      if (!key) { plot.svg.innerHTML = plot.plain; return; }
      plot.svg.replaceChildren();
      groups.forEach(function (g, k) {
        var members = g[1].filter(function (i) { return columns[plot.column][i] !== null; });
        if (!members.length) return;
        var at = members.map(function (i) { return position(plot.axis, columns[plot.column][i]); }), sorted = at.slice().sort(function (a, b) { return a - b; });
        var low = quantile(sorted, 0.25), high = quantile(sorted, 0.75), middle = quantile(sorted, 0.5), y = 30 * k;
        if (k) draw("line", { x1: 0, x2: 300, y1: y, y2: y, stroke: "#d5dae0" }, plot.svg);
        if (number <= DRAWN) members.forEach(function (i, j) {
          var a = scored(i) ? draw("a", { href: link(names[i]), "aria-label": names[i] + ": " + columns[plot.column][i] }, plot.svg) : plot.svg;
          var point = draw("circle", { cx: at[j].toFixed(1), cy: (y + 5 + 20 * ((j * 0.618) % 1)).toFixed(1), r: 3, fill: COLOURS[k], "fill-opacity": 0.6 }, a);
          draw("title", {}, point).textContent = names[i] + ": " + columns[plot.column][i] + " (" + g[0] + ")";
        });
        draw("rect", { x: low.toFixed(1), y: y + 8, width: Math.max(high - low, 1).toFixed(1), height: 14, fill: "none", stroke: COLOURS[k], "stroke-width": 1.5 }, plot.svg);
        var line = draw("line", { x1: middle.toFixed(1), x2: middle.toFixed(1), y1: y + 5, y2: y + 25, stroke: "#000", "stroke-width": 2 }, plot.svg);
        draw("title", {}, line).textContent = "median of " + g[0];
      });
    });
  }
  if (select) select.addEventListener("change", function () { group(select.value); });
})();
