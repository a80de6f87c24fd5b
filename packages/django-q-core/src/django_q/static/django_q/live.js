/* Replaces the tables of the page every few seconds, while its box is checked and the page is visible. */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
    const SECONDS = 3;
    const live = document.getElementById("django-q-live");
    const label = document.getElementById("django-q-updates");
    if (!live || !label) {
        return;
    }
    const box = label.querySelector("input");
    label.hidden = false;

    // Keyboard users keep their place: nothing is replaced while a link, a button or a table has the focus.
    const isWanted = () => box.checked && !document.hidden && !live.contains(document.activeElement);

    const update = async () => {
        const response = await fetch(location.href, {credentials: "same-origin"});
        if (!response.ok || response.redirected) {
            return;
        }
        const page = new DOMParser().parseFromString(await response.text(), "text/html");
        const fresh = page.getElementById("django-q-live");
        if (fresh && isWanted()) {
            live.replaceChildren(...fresh.childNodes);
        }
    };

    const step = async () => {
        try {
            if (isWanted()) {
                await update();
            }
        } catch {
            // The site cannot be reached now. The next step tries again.
        } finally {
            setTimeout(step, SECONDS * 1000);
        }
    };
    setTimeout(step, SECONDS * 1000);
});
