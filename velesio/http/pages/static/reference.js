// Starts the reader of the OpenAPI document that the page has a place for.

const place = document.querySelector("#swagger, #redoc");
const address = place.dataset.document;

if (place.id === "swagger") {
  window.SwaggerUIBundle({
    url: address,
    domNode: place,
    deepLinking: true,
    displayRequestDuration: true,
    docExpansion: "none",
    filter: true,
    validatorUrl: null,
  });
} else {
  window.Redoc.init(address, { disableSearch: false, hideDownloadButton: false, expandResponses: "200" }, place);
}
