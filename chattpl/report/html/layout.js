// What depends on the width of the window: pictures that it is too narrow for, and the height of the links at the top.

/** Let every picture that is wider than the page be shown at full size, by a button above it or a click on it. */
function makeZoomable() {
  for (const picture of document.querySelectorAll(".picture")) {
    const box = element("span", { class: "box", role: "region", "aria-label": "Picture" });
    const button = element("button", { type: "button", class: "size", hidden: true });
    picture.replaceWith(button, box);
    box.append(picture);
    const isFull = () => box.classList.contains("full");
    const show = () => {
      button.textContent = isFull() ? "fit to the page" : "full size";
      button.hidden = !isFull() && picture.width >= picture.naturalWidth;
    };
    const change = (x, y) => {
      zoom(box, picture, x, y);
      show();
    };
    new ResizeObserver(show).observe(picture);
    button.addEventListener("click", () => change(0, 0));
    picture.addEventListener("click", ({ offsetX, offsetY }) => {
      if (!button.hidden) change(offsetX, offsetY);
    });
  }
}

/** Change between the two sizes. What stands at (x, y) comes to the middle of the box that scrolls the picture. */
function zoom(box, picture, x, y) {
  const { offsetWidth, offsetHeight } = picture;
  box.tabIndex = box.classList.toggle("full") ? 0 : -1;
  box.scrollLeft = x / offsetWidth * picture.offsetWidth - box.clientWidth / 2;
  box.scrollTop = y / offsetHeight * picture.offsetHeight - box.clientHeight / 2;
  box.parentElement.scrollIntoView({ block: "nearest" });
}

/** How many pixels at the top of the window the links cover: none where they scroll away. */
function covered() {
  const navigation = document.querySelector("nav");
  return getComputedStyle(navigation).position === "sticky" ? navigation.offsetHeight : 0;
}

/** Tell page.css. */
function measureNavigation() {
  const tell = () => document.documentElement.style.setProperty("--covered", `${covered()}px`);
  new ResizeObserver(tell).observe(document.querySelector("nav"));
}

makeZoomable();
measureNavigation();
