// Swagger UI with the API document of this server; it contacts no other server.
SwaggerUIBundle({
  dom_id: "#swagger-ui",
  url: document.currentScript.dataset.openapi,
  validatorUrl: null,
});
